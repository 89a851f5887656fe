"""What finished runs say: how sure a difference is, for whom it holds, and what else changed with it."""
