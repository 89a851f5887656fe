"""Is a stored run what it says? Nothing here is needed to make one."""
