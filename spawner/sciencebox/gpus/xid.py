"""What the driver's XID errors mean: whose fault they are, and what to do. Pure.

Numbers and their meaning are from NVIDIA's "XID Errors" (docs.nvidia.com/deploy/xid-errors).
"""

from __future__ import annotations

from dataclasses import dataclass

# The program's fault, or contained in it: the card goes on as if nothing had happened.
_PROGRAM = {
    13: "it caused an exception on the GPU, as by an index that is out of bounds",
    31: "it used memory of the GPU that is not its own",
    43: "it was stopped after an error of its own on the GPU",
    45: "it was stopped after an earlier error on the GPU",
    68: "it caused an exception in the GPU's video decoder",
    69: "it caused an exception on the GPU by an illegal instruction",
    94: "its memory on the GPU had an error that could not be corrected, and that harmed no other program",
    109: "it did not let the GPU change over to other work in time",
}
# Told by signs of their own, which are looked at anyway: rows that wait to be remapped, corrected errors.
_TOLD_OTHERWISE = {63, 92}
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
    if xid in _TOLD_OTHERWISE:
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
