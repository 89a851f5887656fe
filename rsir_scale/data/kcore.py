"""The k-core of an interaction log: the largest part of it in which every user and every item has k interactions.

Interactions are counted, repeats included. The log is passed over in batches until nothing more drops; memory is
proportional to users plus items, never to the log. The k-core is unique, so dropping users and items in the same pass
ends where dropping them in turn does.
"""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


def k_core(
    batches: Callable[[], Iterable[tuple[Codes, Codes]]], *, users: int, items: int, min_count: int
) -> tuple[Mask, Mask]:
    """Find the users and items of the k-core.

    Args:
        batches: gives the log anew at each call, as batches of user codes and item codes (from 0), one a row.
        users: number of user codes.
        items: number of item codes.
        min_count: interactions that each user and each item must keep; 1 drops those without any,
            0 nothing.

    Returns:
        bool[users] and bool[items]: who stays. Both are all False where there is no k-core.
    """
    user_stays, item_stays = np.ones(users, dtype=np.bool_), np.ones(items, dtype=np.bool_)
    while min_count > 0:
        user_counts, item_counts = np.zeros(users, dtype=np.int64), np.zeros(items, dtype=np.int64)
        for user_codes, item_codes in batches():
            kept = user_stays[user_codes] & item_stays[item_codes]
            user_counts += np.bincount(user_codes[kept], minlength=users)
            item_counts += np.bincount(item_codes[kept], minlength=items)
        before = int(user_stays.sum()) + int(item_stays.sum())
        user_stays, item_stays = user_counts >= min_count, item_counts >= min_count
        if int(user_stays.sum()) + int(item_stays.sum()) == before:
            break
    return user_stays, item_stays
