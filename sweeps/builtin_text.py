"""The built-in text: the documentation and the source text that every Python installation carries.

It differs between Python versions (the language reference and the library change), and a distribution may have split
parts of the library out: so whoever reads it records the sha256 of what was read, and two runs are on the same text
when their hashes agree.
"""

import hashlib
import os
import sysconfig
from collections.abc import Iterator

from lm_probe.model_adapters import UserError

LIMIT_BYTES = 8_000_000
FEWEST_DOCUMENTS = 100

# Modules and packages of the standard library of Python 3.11 to 3.14; one that is not there is passed over. Left out:
# what is machine-written (character tables), what says where this Python was built, and what is often packaged apart.
_LIBRARY = """
    __future__ _collections_abc _markupbase _osx_support _py_abc _pydatetime _pydecimal _pyio _pyrepl _strptime
    _threading_local _weakrefset abc argparse ast asyncio base64 bdb bisect bz2 cProfile calendar cmd code codecs
    codeop collections colorsys compileall compression concurrent configparser contextlib copy copyreg csv ctypes
    curses dataclasses datetime dbm decimal difflib dis doctest email enum filecmp fileinput fnmatch fractions ftplib
    functools genericpath getopt getpass gettext glob graphlib gzip hashlib heapq hmac html http imaplib importlib
    inspect io ipaddress json keyword linecache locale logging lzma mailbox mimetypes modulefinder multiprocessing
    netrc ntpath numbers opcode operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib
    posixpath pprint profile pstats pty py_compile pyclbr pydoc queue quopri random re reprlib rlcompleter runpy sched
    secrets selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl stat statistics string
    stringprep struct subprocess symtable tabnanny tarfile tempfile textwrap threading timeit token tokenize tomllib
    trace traceback tracemalloc tty types typing unittest urllib uuid venv warnings wave weakref webbrowser wsgiref
    xml xmlrpc zipapp zipfile zipimport zoneinfo
"""
_NOT_LIBRARY = {"test", "tests", "__pycache__", "site-packages"}


def builtin_documents() -> list[str]:
    """The built-in text, one document per help topic and per source file of the standard library.

    The order is fixed and mixes prose with code (sorted by a hash of each document's name), so that any prefix is a
    sample of the whole. The same Python gives the same documents on every machine.

    Returns:
        Non-empty documents, together about `LIMIT_BYTES` of UTF-8 at most.

    Raises:
        UserError: Where this Python carries too little of its own library.
    """
    named = sorted({**_topics(), **_sources()}.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())
    documents: list[str] = []
    room = LIMIT_BYTES
    for _, document in named:
        size = len(document.encode())
        if document.strip() and size <= room:
            documents.append(document)
            room -= size
    if len(documents) < FEWEST_DOCUMENTS:
        raise UserError(
            f"the built-in text was asked for, but {sysconfig.get_path('stdlib')} holds only {len(documents)} readable "
            "documents of Python's own library; give a text with --text FILE, or use a complete Python"
        )
    return documents


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions ship it apart
        return {}
    return {f"topics/{name}": text for name, text in topics.items()}


def _sources() -> dict[str, str]:
    found = {}
    for name, path in _source_files(sysconfig.get_path("stdlib")):
        try:
            # Newlines are translated, so that every platform's files give the same text.
            with open(path, encoding="utf-8") as stream:
                found[name] = stream.read()
        except (OSError, UnicodeDecodeError):
            continue  # absent here, or one of the few sources in another encoding
    return found


def _source_files(library: str) -> Iterator[tuple[str, str]]:
    for module in _LIBRARY.split():
        yield f"{module}.py", os.path.join(library, f"{module}.py")
        for folder, subfolders, files in os.walk(os.path.join(library, module)):
            subfolders[:] = [name for name in subfolders if name not in _NOT_LIBRARY]
            for file in files:
                if file.endswith(".py"):
                    path = os.path.join(folder, file)
                    yield os.path.relpath(path, library).replace(os.sep, "/"), path
