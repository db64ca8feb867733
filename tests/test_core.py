"""The C++ core without Python: its own tests, what its objects hold, and tensors beyond 2³¹ elements."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs

SOURCE = Path(__file__).parents[1] / "cpp"
PROGRAMS = sorted(path.stem for path in (SOURCE / "tests").glob("*.cpp"))

#: target -> what its vectorised square roots look like
VECTORS = {
    "x86_64_v4": r"vsqrtps\s.*%zmm",
    "x86_64_v3": r"vsqrtps\s.*%ymm",
    "x86_64_v2": r"\ssqrtps\s.*%xmm",
    "neon": r"fsqrt\s+v\d+\.4s",
}
FUSED = re.compile(r"\s((?:vfn?m(?:add|sub)|fn?m(?:add|sub)|fml[as])\w*\s.*)")
#: Where the squares of floats are summed in double: fused or not, a sum rounds once.
SQUARES, OF_DOUBLES = ("norm_loop.cpp", "stats_loop.cpp"), re.compile(r"\wadd\d+[ps]d\s|fmla\s.*\.2d|fmadd\s+d")


def run(*command: object, status: int = 0, **kwargs: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, **kwargs)
    assert done.returncode == status, f"{shlex.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout + (done.stderr if status else "")


def need(*tools: str) -> None:
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not there")


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> Path:
    """The folder in which the core and its tests are built."""
    need("cmake", "ctest")
    if not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")))):
        pytest.skip("there is no C++ compiler")
    build = tmp_path_factory.mktemp("core")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    settings = ["-DCMAKE_BUILD_TYPE=Release", "-DFUSEDSTEP_TESTS=ON", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    settings += ["-DFUSEDSTEP_CUDA=OFF"]
    environment = {key: value for key, value in os.environ.items() if key not in ("CXXFLAGS", "CPPFLAGS")}
    run("cmake", "-S", SOURCE, "-B", build, *generator, *settings, env=environment)
    run("cmake", "--build", build, "--parallel", "2", env=environment)
    return build


#: source of loops -> the one name that its objects export
LOOPS = {
    "update_loop.cpp": "target",
    "half_loop.cpp": "halves",
    "pass_loop.cpp": "passes",
    "norm_loop.cpp": "norms",
    "stats_loop.cpp": "stats",
}


def loop_objects(build: Path, source: str) -> dict[str, Path]:
    """Of each target, the object with its loops."""
    objects = {path.parents[1].name: path for path in build.rglob(f"{source}.o")}
    found = {name.removeprefix("fusedstep_").removesuffix(".dir"): path for name, path in objects.items()}
    assert found, "the build has no loops"
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(core, program):
    run("ctest", "--test-dir", core, "--no-tests=error", "--output-on-failure", "-R", f"^{program}$")


#: What the README shows: on the processor, on a device.
SHOWN = re.findall(r"```cpp\n(.*?)```", (SOURCE / "README.md").read_text(), re.DOTALL)


def compiled(core: Path, folder: Path, source: str) -> Path:
    """A program that compiles without a warning."""
    (folder / "shown.cpp").write_text(source)
    words = ["-std=c++20", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-I", core / "include"]
    program = folder / "shown"
    run(
        shutil.which(os.environ.get("CXX", "c++")),
        *words,
        folder / "shown.cpp",
        core / "libfusedstep_core.a",
        *["-pthread", "-ldl", "-o", program],
    )
    return program


def assert_steps(printed: str, steps: int, cls: type, **options: object) -> None:
    """A program has stepped as the class does."""
    param, grad = np.array([1, 2, 3], np.float32), np.array([0.5, -2, 4], np.float32)
    opt = cls(param, **options)
    for _ in range(steps):
        opt.step(grad)
    assert [float.fromhex(word) for word in printed.split()] == param.tolist()


def test_the_program_that_is_shown(core, tmp_path):
    assert_steps(run(compiled(core, tmp_path, SHOWN[0])), 3, fs.AdamW, lr=1e-3, weight_decay=0.01)


def test_the_program_on_a_device(core, tmp_path, device):
    program = compiled(core, tmp_path, SHOWN[1])
    library = device.simulation._name if device.simulation else fs.cuda.LIBRARY
    assert_steps(run(program, library), 3, fs.SGD, lr=0.5, momentum=0.9)
    for none in (tmp_path / "none.so", core / "CMakeCache.txt"):
        assert "there is no such library" in run(program, none, status=1)


PROGRAM = """
cmake_minimum_required(VERSION 3.24)
project(program LANGUAGES CXX)
{found}
add_library(inner STATIC inner.cpp)
target_link_libraries(inner PUBLIC fusedstep::core)
add_executable(shown shown.cpp)
target_link_libraries(shown PRIVATE inner)
install(TARGETS inner EXPORT program)
install(EXPORT program DESTINATION lib)
"""


def write_program(folder: Path, found: str, included: str = "#include <fusedstep/kernel/plan.hpp>\n") -> None:
    """A program with a library between, both of which are installed."""
    (folder / "CMakeLists.txt").write_text(PROGRAM.format(found=found))
    (folder / "shown.cpp").write_text(SHOWN[0])
    (folder / "inner.cpp").write_text(f"{included}int number() {{ return fusedstep::Plan().groups.size(); }}\n")


def test_a_program_that_finds_the_core(core, tmp_path):
    prefix, folder = tmp_path / "installed", tmp_path / "program"
    folder.mkdir()
    run("cmake", "--install", core, "--prefix", prefix)
    headers = [path.relative_to(prefix / "include") for path in prefix.rglob("*.hpp")]
    lines = [f"#include <{header.as_posix()}>\n" for header in headers]
    assert len(lines) > 30
    write_program(folder, f"find_package(fusedstep {fs.__version__.rpartition('.')[0]} REQUIRED)", "".join(lines))
    run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder / "build")
    assert_steps(run(folder / "build" / "shown"), 3, fs.AdamW, lr=1e-3, weight_decay=0.01)


@pytest.mark.parametrize("installs", [False, True])
def test_a_program_that_adds_the_core(tmp_path, installs):
    """Only where it is installed with the program can the program's library be."""
    need("cmake")
    write_program(
        tmp_path, f"set(FUSEDSTEP_INSTALL {'ON' if installs else 'OFF'})\nadd_subdirectory({SOURCE} fusedstep)"
    )
    said = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", status=not installs)
    assert installs or "fusedstep_core" in said


def test_a_program_that_joins_its_files(tmp_path):
    """It says so for all that is below it, and ours have the same names for different things."""
    need("cmake")
    write_program(tmp_path, f"set(CMAKE_UNITY_BUILD ON)\nadd_subdirectory({SOURCE} fusedstep)")
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-DFUSEDSTEP_INSTALL=ON")
    joined = [path.relative_to(tmp_path / "build").parts[0] for path in tmp_path.rglob("unity_*")]
    assert joined
    assert "fusedstep" not in joined


def test_a_program_that_is_strict_with_warnings_adds_the_core(core):
    """Its flags are those of whatever is below it."""
    strict = ["-Wpedantic", "-Wshadow", "-Wold-style-cast", "-Werror"]
    commands = json.loads((core / "compile_commands.json").read_text())
    ours = {entry["file"]: entry for entry in commands if Path(entry["file"]).parent.name in ("cpu", "kernel")}
    assert len(ours) > len(LOOPS)
    for entry in ours.values():
        first, *words = shlex.split(entry["command"])
        run(first, *strict, *words, "-fsyntax-only", cwd=entry["directory"])


def symbol(target: str, name: str) -> str:
    return f"_ZN9fusedstep{len(target)}{target}{len(name)}{name}E"


def assert_nothing_shared(target: str, source: str, path: Path) -> None:
    """One name leaves the object: the table of its loops. What the linker could merge, or run at start, it has not."""
    names = [line.split()[-2:] for line in run("nm", path).splitlines()]
    defined = {name: kind for kind, name in names if kind not in ("U", "w")}
    exported = [name for name, kind in defined.items() if kind.isupper() or kind in "uv"]
    assert exported == [symbol(target, LOOPS[source])]
    needed = {name for kind, name in names if kind == "U" and name.startswith("_Z")}
    assert needed <= {symbol(target, name) for name in LOOPS.values()}
    assert not [name for name in defined if name.startswith("_GLOBAL__sub_")]
    assert not re.search(r"\.(init_array|ctors|preinit_array)", run("objdump", "-h", path))


@pytest.mark.parametrize("source", LOOPS)
def test_loops_share_nothing(core, source):
    need("nm", "objdump")
    for target, path in loop_objects(core, source).items():
        assert_nothing_shared(target, source, path)


@pytest.mark.parametrize("source", LOOPS)
def test_loops_share_nothing_without_optimization(core, source, tmp_path):
    need("nm", "objdump")
    commands = json.loads((core / "compile_commands.json").read_text())
    commands = [entry for entry in commands if entry["file"].endswith(source)]
    assert len(commands) == len(loop_objects(core, source))
    for entry in commands:
        words = ["-O0" if word == "-O3" else word for word in shlex.split(entry["command"])]
        assert "-O0" in words
        at = words.index("-o") + 1
        target = re.search(r"fusedstep_(\w+)\.dir", words[at])[1]
        words[at] = str(tmp_path / f"{target}.o")
        run(*words, cwd=entry["directory"])
        assert_nothing_shared(target, source, Path(words[at]))


@pytest.mark.parametrize("flag", ["-ffast-math", "-funsafe-math-optimizations"])
@pytest.mark.parametrize("source", ["cpu/norm_loop.cpp", "kernel/plan.cpp"])
def test_flags_of_a_distribution_change_no_arithmetic(core, source, flag, tmp_path):
    """They come first, as those in CXXFLAGS do."""
    need("objdump")
    commands = json.loads((core / "compile_commands.json").read_text())
    commands = [entry for entry in commands if entry["file"].endswith(source) and "simulated" not in entry["command"]]
    assert commands
    for entry in commands:
        first, *words = shlex.split(entry["command"])
        at = words.index("-o") + 1
        usual, words[at] = words[at], str(tmp_path / "with_flag.o")
        run(first, flag, *words, cwd=entry["directory"])
        built, again = (run("objdump", "-d", "--no-show-raw-insn", path) for path in (core / usual, words[at]))
        assert again.split("\n", 3)[3] == built.split("\n", 3)[3]


@pytest.mark.parametrize("flag", ["-ffast-math", "-funsafe-math-optimizations", "-Ofast"])
def test_flags_of_a_distribution_flush_nothing(flag, tmp_path):
    """With some of them a compiler links what changes the processor's mode for whoever loads a library."""
    need("nm", "c++")
    ours = re.search(
        r'"\$<\$<NOT:\$<CXX_COMPILER_ID:MSVC>>:(-fno-fast-math.*)>"\)', (SOURCE.parent / "CMakeLists.txt").read_text()
    )
    (tmp_path / "empty.cpp").touch()
    library = tmp_path / "empty.so"
    run("c++", flag, "-shared", "-fPIC", *ours[1].split(";"), tmp_path / "empty.cpp", "-o", library)
    assert "set_fast_math" not in run("nm", library)


def test_loops_are_vectors_whose_fused_products_are_exact(core):
    need("objdump")
    for source in LOOPS:
        for target, path in loop_objects(core, source).items():
            code = run("objdump", "-d", "--no-show-raw-insn", path)
            assert source != "update_loop.cpp" or len(re.findall(VECTORS[target], code)) > 20
            fused = FUSED.findall(code)
            assert not fused or (source in SQUARES and all(OF_DOUBLES.search(one) for one in fused))


def test_everything_else_keeps_to_the_baseline(core):
    need("objdump")
    loops = {path for source in LOOPS for path in loop_objects(core, source).values()}
    others = [path for path in core.rglob("*.cpp.o") if path not in loops]
    assert len(others) > len(PROGRAMS)
    for path in others:
        assert not re.search(r"%[yz]mm", run("objdump", "-d", "--no-show-raw-insn", path)), path


@pytest.mark.long
@pytest.mark.parametrize("processor", ["Nehalem", "Haswell"])
@pytest.mark.parametrize("program", ["float_mode", "loops", "plan", "rules", "targets"])
def test_program_on_another_processor(core, program, processor):
    """An emulator rounds in software, so equal bits there are equal by IEEE 754 and not by this chip."""
    need("qemu-x86_64")
    run("qemu-x86_64", "-cpu", processor, core / "tests" / f"fusedstep_test_{program}")


@contextmanager
def repeated(pattern: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """An array of `size` elements in which one piece of memory comes again and again."""
    fixed, no_reserve = 0x10, 0x4000
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    piece, total = pattern.nbytes, -(-size // pattern.size) * pattern.nbytes
    file = os.memfd_create("pattern")
    os.write(file, pattern.tobytes())
    access, space = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    start = libc.mmap(None, total, access, space, -1, 0)
    if start == ctypes.c_void_p(-1).value:
        pytest.skip("there is no room for the addresses")
    for offset in range(0, total, piece):
        assert libc.mmap(start + offset, piece, access, mmap.MAP_SHARED | fixed, file, 0) == start + offset
    os.close(file)
    try:
        yield np.frombuffer((ctypes.c_char * total).from_address(start), pattern.dtype)[:size]
    finally:
        libc.munmap(start, total)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps memory as Linux does")
def test_more_than_2_31_elements(target):
    """8 GiB that are 4 MiB: every round over the piece takes 1 away, and the elements behind 2³¹ take one more."""
    piece, size = 2**20, 2**31 + 4096 + 3
    before = fs.set_num_threads(1)  # two threads would take from the same memory at once
    try:
        with (
            repeated(np.zeros(piece, np.float32), size) as param,
            repeated(np.ones(piece, np.float32), size) as grad,
        ):
            fs.SGD(param, lr=1.0).step(grad)
            assert (param[: 4096 + 3] == -(2**11) - 1).all()
            assert (param[4096 + 3 : piece] == -(2**11)).all()
    finally:
        fs.set_num_threads(before)
