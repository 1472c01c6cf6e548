"""What the driver's XID errors mean: whose fault they are, and what to do. Pure.

Numbers, their meaning and what is to be done at once are from NVIDIA's "XID Errors" (docs.nvidia.com/deploy/xid-errors)
with its catalog. Whether a card must be reset after an error, drivers from 570 on tell themselves, see `health`.
"""

from __future__ import annotations

from dataclasses import dataclass

_COPYING = "copying to or from the GPU failed"
_VIDEO = "a unit of the GPU for videos or images failed"
_COMMANDS = "what it sent to the GPU was not valid"
# The program's fault, or contained in it: it has to be started again, and the card goes on as if nothing had happened.
# (Of 109 the catalog says that the card has to be reset. As programs cause it, too, that is left to the driver to say.)
_PROGRAM = {
    **dict.fromkeys((11, 25, 32, 80), _COMMANDS),
    **dict.fromkeys((39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136)), _COPYING),
    **dict.fromkeys((60, 68, 82, 83, 84, 86, 88, 89, *range(96, 106), 139), _VIDEO),
    8: "it did not come to an end in time",
    13: "it caused an exception on the GPU, as by an index that is out of bounds",
    31: "it used memory of the GPU that is not its own",
    43: "it was stopped after an error of its own on the GPU",
    45: "it was stopped after an earlier error on the GPU",
    69: "it caused an exception on the GPU by an illegal instruction",
    94: "its memory on the GPU had an error that could not be corrected, and that harmed no other program",
    109: "it did not let the GPU change over to other work in time",
    137: "it used memory of another GPU that is not its own",
}
# To be ignored by the catalog, or told by signs of their own, which are looked at anyway: rows that wait to be remapped
# (63), corrected errors (92), what the driver says has to be done (154).
_IGNORED = {14, 37, 38, 44, 63, 66, 67, 92, 93, 106, 107, 121, 141, 154, 160, 161, 162, 163, 164}
_CARD = {
    48: "its memory had an error that could not be corrected; it has to be reset",
    62: "its own processor halted; it has to be reset",
    64: "its memory is worn out (row remapping failed); it has to be replaced",
    74: "its NVLink connection failed; it has to be reset",
    79: "it has fallen off the bus; the server has to be restarted, and its power and seat looked at",
    95: "its memory had an error that may have harmed other programs; it has to be reset",
    119: "its system processor does not answer; it has to be reset",
    120: "its system processor failed; it has to be reset",
    140: "its memory had an error from which it did not recover; it has to be reset",
}


@dataclass(frozen=True)
class Verdict:
    """What an XID error means. `card` is why the card may not be given out, empty where it may.

    `user` is for whoever has the card alone, `users` for those who have parts of it, of whom the driver does not tell
    whose program failed; both are empty where there is nothing to say.
    """

    card: str = ""
    user: str = ""
    users: str = ""


def judge(xid: int) -> Verdict:
    """What is to be made of one. Of an unknown one the worst is supposed."""
    if xid in _IGNORED:
        return Verdict()
    if xid in _PROGRAM:
        failed = f"failed on the GPU: {_PROGRAM[xid]} (XID {xid})."
        return Verdict(
            user=f"A program of yours {failed} Restart its kernel.",
            users=f"A program of yours, or of somebody else who has a part of the GPU, {failed} If yours has stopped, "
            "restart its kernel.",
        )
    why = f"{_CARD.get(xid, 'it has to be reset, or looked at, after an error of its driver')} (XID {xid})"
    told = f"Your GPU has failed: {why}. Save what you can, and start a session on another one."
    return Verdict(card=why, user=told, users=told)
