"""How outputs come to their place: together, whole, and in place of nothing but what may be replaced."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgen.errors import PgenError
from pgen.utils import drafts, locks
from pgen.utils.drafts import DRAFT, OWNER, PARTS, OwnedFolder, restore, sweep
from pgen.utils.files import Outputs, append_line, atomic_write
from pgen.utils.locks import LOCK, MARKER, FileLock, exclusive_access


def write(path: Path, text: str = "new") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def stale_draft(folder: Path, name: str = "x.h5", owner: bytes | None = None) -> Path:
    """A draft whose process has been killed, on this machine unless ``owner`` is something else."""
    draft = OwnedFolder(folder / f".{name}.0123abcd{DRAFT}")
    folder.mkdir(exist_ok=True)
    draft.create()
    draft.lock.release()
    write(draft.path / "new" / name, "half")
    if owner is not None:
        (draft.path / OWNER).write_bytes(owner)
    return draft.path


def test_several_outputs_come_together_or_not_at_all(tmp_path: Path) -> None:
    names = ("a.txt", "old.txt", "folder/b.txt")
    write(tmp_path / "old.txt", "old")
    with pytest.raises(OSError, match="full"), Outputs() as outputs:
        for name in names:
            write(outputs.add(tmp_path / name))
        assert tree(tmp_path)["old.txt"] == "old" and not (tmp_path / "a.txt").exists()
        raise OSError(errno.ENOSPC, "full")
    assert tree(tmp_path) == {"old.txt": "old"} and [path.name for path in tmp_path.iterdir()] == ["old.txt"]
    with Outputs() as outputs:
        for name in names:
            write(outputs.add(tmp_path / name))
    assert tree(tmp_path) == dict.fromkeys(names, "new") and outputs.targets == [tmp_path / name for name in names]


def test_a_new_folder_comes_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renames = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, target: renames.append(target) or rename(path, target))
    with Outputs() as outputs:
        for name in ("train", "held_out"):
            write(outputs.add(tmp_path / "made/here" / name))
    assert renames == [tmp_path / "made"] and tree(tmp_path) == {"made/here/held_out": "new", "made/here/train": "new"}


def test_what_came_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(PgenError, match=r"x\.txt was written by another process in the meantime"), Outputs(overwrite=False) as outputs:
        write(outputs.add(tmp_path / "x.txt"))
        write(tmp_path / "x.txt", "another's")
    assert tree(tmp_path) == {"x.txt": "another's"}
    # A folder that two processes make at once holds the outputs of both.
    with Outputs(overwrite=False) as outputs:
        write(outputs.add(tmp_path / "made/mine"))
        write(tmp_path / "made/yours")
    assert tree(tmp_path / "made") == {"mine": "new", "yours": "new"}


def test_the_next_name_is_taken_where_one_is_not_free(tmp_path: Path) -> None:
    names = iter(["run-2", "run-3", "run-4"])
    write(tmp_path / "run-1/a")
    with Outputs(overwrite=False) as outputs:
        write(outputs.add(tmp_path / "run-1", folder=True, alternative=lambda: tmp_path / next(names)) / "b")
        write(tmp_path / "run-2/a")
        write(tmp_path / "run-3", "a file")
    assert outputs.targets == [tmp_path / "run-4"] and tree(tmp_path) == {
        "run-1/a": "new",
        "run-2/a": "new",
        "run-3": "a file",
        "run-4/b": "new",
    }


def test_links_are_followed_and_access_is_kept(tmp_path: Path) -> None:
    real, link = write(tmp_path / "disk/real.txt", "old"), tmp_path / "link.txt"
    link.symlink_to("disk/real.txt")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 4321)
    before = real.stat()
    with atomic_write(link) as draft:
        write(draft)
    after = real.stat()
    assert link.is_symlink() and real.read_text() == "new" and after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    mask = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "fresh.txt") as draft:
            write(draft)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "fresh.txt").stat().st_mode) == 0o640


def test_inputs_are_never_replaced(tmp_path: Path) -> None:
    source, folder = write(tmp_path / "source.h5", "old"), tmp_path / "images"
    write(folder / "1.png", "old")
    (tmp_path / "link.h5").symlink_to("source.h5")
    os.link(source, tmp_path / "hard.h5")
    for target in ("source.h5", "link.h5", "hard.h5", "images/../source.h5", "images/1.png", "images"):
        with pytest.raises(PgenError, match="is an input"), Outputs(inputs=[source, folder]) as outputs:
            outputs.add(tmp_path / target, folder=target == "images")
    with Outputs(inputs=[source, folder]) as outputs:
        write(outputs.add(folder / "2.png"))
    assert tree(tmp_path)["source.h5"] == "old" and tree(folder) == {"1.png": "old", "2.png": "new"}


def test_refusals_before_the_work(tmp_path: Path) -> None:
    write(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for target, folder, saying in (("folder", False, "is not a file"), ("file", True, "is not a folder"), ("pipe", False, "is not a file")):
        with pytest.raises(PgenError, match=saying), Outputs() as outputs:
            outputs.add(tmp_path / target, folder=folder)
    with pytest.raises(PgenError, match="is the name of two outputs"), Outputs() as outputs:
        outputs.add(tmp_path / "x")
        outputs.add(tmp_path / "folder/../x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "pipe"]


def test_errors_name_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PgenError, match=r"^x\.h5: no good$"), atomic_write("x.h5") as draft:
        raise PgenError(f"{draft}: no good")
    with pytest.raises(OSError) as caught, atomic_write("x.h5") as draft, draft.open("rb"):
        pass
    assert caught.value.filename == "x.h5"


def test_a_folder_is_swapped_and_put_back_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "pics"
    write(place / "old.png", "old")
    with Outputs() as outputs:
        write(outputs.add(place, folder=True) / "new.png")
    assert tree(tmp_path) == {"pics/new.png": "new"}

    # Killed when the old folder is away and the new one not yet there.
    script = f"""
        import os, signal
        from pathlib import Path
        from pgen.utils.files import Outputs
        rename = Path.rename
        def kill_after(path, target):
            rename(path, target)
            os.kill(os.getpid(), signal.SIGKILL)
        Path.rename = kill_after
        with Outputs() as outputs:
            draft = outputs.add({str(place)!r}, folder=True)
            draft.mkdir()
            (draft / "newer.png").write_text("newer")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL and not place.exists()
    restore(place)
    assert tree(tmp_path) == {"pics/new.png": "new"} and [path.name for path in tmp_path.iterdir()] == ["pics"]

    # Should renames fail, the old folder is put back: at once or, where that fails too, by the next command.
    rename = Path.rename
    for failures in (1, 2):
        left = iter([OSError(errno.EIO, "no luck")] * failures)

        def rename_or_fail(path: Path, target: Path, left: Iterator[OSError] = left) -> Path:
            if target == place and (error := next(left, None)):
                raise error
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", rename_or_fail)
        with pytest.raises(OSError, match="no luck"), Outputs() as outputs:
            write(outputs.add(place, folder=True) / "newer.png")
        monkeypatch.undo()
        assert place.exists() == (failures == 1)
        restore(place)
        assert tree(tmp_path) == {"pics/new.png": "new"}


def test_only_dead_drafts_with_the_marker_are_swept(tmp_path: Path) -> None:
    dead = stale_draft(tmp_path)
    strangers = [
        stale_draft(tmp_path, "y.h5", b"another's\n"),
        stale_draft(tmp_path, "z.h5", b""),
        write(tmp_path / f".v.h5.0123abcd{DRAFT}" / "thesis.txt").parent,
        write(tmp_path / ".x.h5.parts" / "thesis.txt").parent,
        write(tmp_path / f".w.h5{PARTS}" / "thesis.txt").parent,
        write(tmp_path / f".w.h5{LOCK}"),
        write(tmp_path / f".u.h5.0123abcd{DRAFT}"),
    ]
    elsewhere = stale_draft(tmp_path / "elsewhere")
    linked = tmp_path / f".l.h5.0123abcd{DRAFT}"
    linked.symlink_to(elsewhere)
    with Outputs() as alive:
        draft = write(alive.add(tmp_path / "alive.txt"))
        shutil.copy(draft.parents[1] / OWNER, tmp_path / f".t.h5{LOCK}")
        with atomic_write(tmp_path / "x.h5") as path:
            write(path)
        assert draft.is_file() and not dead.exists() and not (tmp_path / f".t.h5{LOCK}").exists()
    assert all(path.exists() for path in (*strangers, linked, elsewhere))
    assert (tmp_path / "alive.txt").is_file() and sorted(path.name for path in tmp_path.glob("[!.]*")) == ["alive.txt", "elsewhere", "x.h5"]


@pytest.mark.parametrize("why", ["without locks", "on another machine"])
def test_where_locks_say_nothing_only_old_drafts_are_swept(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    owner = None
    if why == "without locks":
        monkeypatch.setattr(locks, "lock_descriptor", unsupported)
    else:
        owner = MARKER + b"host elsewhere\nstart 0123\n"
    young, old = (stale_draft(tmp_path, name, owner) for name in ("young", "old"))
    for path in (old, *old.rglob("*")):
        os.utime(path, (0, time.time() - drafts.STALE_AFTER - 60))
    with atomic_write(tmp_path / "x") as draft:
        write(draft)
    assert young.exists() and not old.exists() and (tmp_path / "x").is_file()


def test_a_refused_command_sweeps_too(tmp_path: Path) -> None:
    dead, place = stale_draft(tmp_path), write(tmp_path / "x.h5", "whole")
    parts = OwnedFolder(tmp_path / f".x.h5{PARTS}")
    parts.create()
    parts.lock.release()
    os.utime(place, (time.time() + 1, time.time() + 1))
    with pytest.raises(PgenError, match="exists already"), Outputs(overwrite=False) as outputs:
        outputs.add(place)
    assert not dead.exists() and tree(tmp_path) == {"x.h5": "whole"}


def test_a_lock_is_of_one_process_and_of_the_file_at_its_path(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = FileLock(path), FileLock(path)
    assert first.acquire() and first.is_in_place() and not second.acquire()
    path.rename(tmp_path / "moved")
    assert not first.is_in_place() and not first.is_deleted() and second.acquire()
    path.unlink()
    assert second.is_deleted()
    first.release()
    second.release()

    told = []
    with exclusive_access(tmp_path / "x.h5"):
        script = f"""
            import sys
            from pathlib import Path
            from pgen.utils.locks import exclusive_access
            with exclusive_access(Path({str(tmp_path / "x.h5")!r}), lambda: print("waiting", flush=True)):
                print("mine", flush=True)
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told.append(process.stdout.readline())
    assert [*told, *process.communicate(timeout=60)[0].splitlines(keepends=True)] == ["waiting\n", "mine\n"]
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


@pytest.mark.parametrize("name", [f".x.h5.0123abcd{DRAFT}", f".x.h5{PARTS}"])
def test_what_a_kill_left_before_it_was_marked_is_swept(name: str, tmp_path: Path) -> None:
    for content in ((), (OWNER,)):
        (tmp_path / name).mkdir()
        for file in content:
            (tmp_path / name / file).touch()
        sweep(tmp_path)
        assert list(tmp_path.iterdir()) == []
    # Locked by a process that is about to mark it, of a stranger, or a link to what is a stranger's.
    mine = write(tmp_path / name / OWNER, "")
    lock = FileLock(mine)
    assert lock.acquire()
    sweep(tmp_path)
    assert mine.exists()
    lock.release()
    (tmp_path / "strange").mkdir()
    (tmp_path / name).rename(tmp_path / "strange/folder")
    (tmp_path / name).symlink_to(tmp_path / "strange/folder")
    sweep(tmp_path)
    assert (tmp_path / "strange/folder" / OWNER).exists()
    (tmp_path / name).unlink()
    theirs = write(tmp_path / name / "notes.txt")
    sweep(tmp_path)
    assert theirs.exists()


def test_a_command_that_is_refused_sweeps_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draft = stale_draft(tmp_path)
    write(tmp_path / "out/x.h5", "whole")
    with pytest.raises(PgenError, match="exists already"), Outputs(overwrite=False) as outputs:
        outputs.add("out/x.h5")
    assert not draft.exists() and tree(tmp_path) == {"out/x.h5": "whole"}


def test_a_folder_that_was_swept_before_it_was_marked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire, swept = FileLock.acquire, []

    def sweep_first(lock: FileLock, **options: bool) -> bool:
        if not swept:
            swept.append(sweep(tmp_path))
        return acquire(lock, **options)

    monkeypatch.setattr(FileLock, "acquire", sweep_first)
    with atomic_write(tmp_path / "x.txt") as draft:
        draft.write_text("new")
    assert tree(tmp_path) == {"x.txt": "new"} and swept


def test_a_lock_file_of_a_stranger_stays(tmp_path: Path) -> None:
    name = f".x.h5{LOCK}"
    write(tmp_path / name, "mine")
    with pytest.raises(PgenError, match=r"x\.h5\.pgen-lock was not written by pgen"), exclusive_access(tmp_path / "x.h5"):
        pass
    write(tmp_path / "precious")
    (tmp_path / f".y.h5{LOCK}").symlink_to("precious")
    with pytest.raises(OSError), exclusive_access(tmp_path / "y.h5"):
        pass
    assert (tmp_path / name).read_text() == "mine" and (tmp_path / "precious").read_text() == "new"


def test_signals_wait_while_files_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        signal.raise_signal(signal.SIGINT)
        return replace(path, target)

    for name in "ab":
        write(tmp_path / name, "old")
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), Outputs() as outputs:
        for name in "ab":
            write(outputs.add(tmp_path / name))
    assert tree(tmp_path) == {"a": "new", "b": "new"} and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_lines_of_a_log(tmp_path: Path) -> None:
    for line in ("one", "zwei ü"):
        append_line(tmp_path / "log", line)
    assert (tmp_path / "log").read_text() == "one\nzwei ü\n"


def test_sweeping_where_nothing_can_be_read() -> None:
    sweep(Path("/no/such/folder"))
    restore(Path("/no/such/folder/x"))
