"""One exception class per cause that a user can act on: message, remedy, exit code."""

from __future__ import annotations

import errno


class Error(Exception):
    """Base of all errors meant for the user.

    message  what was expected and what was found, with the file or product
    remedy   one action that can be typed or clicked; printed as the last sentence
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(Error):
    """Wrong command line."""

    exit_code = 2


class ConfigError(Error):
    """The configuration is wrong; the message holds file:line."""

    exit_code = 65


class InputError(Error):
    """An input is missing, malformed or not finished."""

    exit_code = 66


class NetworkError(Error):
    """The network failed after all retries."""

    exit_code = 67


class OfflineProductError(Error):
    """The product is archived and not online."""

    exit_code = 68


class DiskError(Error):
    """No space or quota left."""

    exit_code = 69


class ExternalError(Error):
    """An external program failed."""

    exit_code = 70


class PartialError(Error):
    """Some items failed, others succeeded."""

    exit_code = 71


class NothingFoundError(Error):
    """Nothing matched; the message names the nearest miss."""

    exit_code = 72


class RefusedError(Error):
    """Refused here: login node, job without network, or a finished heavy stage would be repeated."""

    exit_code = 73


class LockedError(Error):
    """Another run holds the lock."""

    exit_code = 74


class Interrupted(Error):
    """A signal or the walltime ended the run; the same command resumes."""

    exit_code = 75


class CredentialError(Error):
    """Credentials are missing or were refused."""

    exit_code = 76


class BrokenEnvironmentError(Error):
    """The software environment is incomplete."""

    exit_code = 77


class VerificationError(Error):
    """Content failed verification after its retries."""

    exit_code = 78


EXIT_CODES: dict[int, str] = {
    0: "done, or already up to date",
    1: "a bug in this program, with traceback",
    2: "wrong command line",
    65: "configuration",
    66: "input missing, malformed or not finished",
    67: "network, after all retries",
    68: "product archived, not online yet",
    69: "disk full or quota reached",
    70: "an external program failed",
    71: "partial: some items failed, the others are done",
    72: "nothing found; the message says the nearest miss",
    73: "refused here: login node, job without network, or would repeat a finished heavy stage",
    74: "locked by another run",
    75: "interrupted: run the same command again, it resumes",
    76: "credentials missing or refused",
    77: "environment incomplete",
    78: "content failed verification after its retries",
}


def from_os_error(error: OSError) -> Error:
    """Translate an operating system error into the project's words.

    ENOSPC and EDQUOT become DiskError; everything else InputError with the file's name.
    """
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskError(
            f"No space left while writing {where}.", "Free disk space, then run the same command again: it resumes."
        )
    reason = error.strerror or str(error)
    return InputError(f"{where}: {reason}.", "Check that the file exists and that you may read and write it.")
