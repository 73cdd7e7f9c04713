"""Laws of paths, phases and prefixes."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT

from sdr_mm.errors import InputError
from sdr_mm.space import SubnetSpace

spaces = st.builds(SubnetSpace, num_groups=st.integers(1, 5), num_blocks=st.integers(0, 4))


def test_default_space_has_256_subnets_and_the_phases_of_the_paper():
    space = SubnetSpace()
    assert len(space) == 256
    assert [1 + len(space.phase(p)) for p in range(5)] == [1, 5, 17, 65, 257]
    assert space.path(0b00_11_01_10) == (0, 3, 1, 2)


@given(spaces)
def test_path_and_index_are_inverse_and_paths_are_distinct(space):
    assert len(set(space.paths)) == len(space) == space.num_groups**space.num_blocks
    for index, path in enumerate(space.paths):
        assert space.path(index) == path
        assert space.index(path) == index


@given(spaces, st.data())
def test_phase_p_holds_the_paths_that_differ_from_zero_in_the_last_p_blocks_only(space, data):
    p = data.draw(st.integers(1, space.num_blocks)) if space.num_blocks else 0
    kept = space.num_blocks - p
    expected = [path for path in space.paths if all(group == 0 for group in path[:kept])] if p else []
    assert [space.path(index) for index in space.phase(p)] == expected
    if p:
        assert set(space.phase(p - 1)) <= set(space.phase(p))


@given(spaces)
def test_prefixes_are_the_distinct_beginnings_of_the_paths(space):
    for depth in range(space.num_blocks + 1):
        assert space.prefixes(depth) == sorted({path[:depth] for path in space.paths})


@pytest.mark.parametrize('path', [(0, 0, 0), (0, 0, 0, 4), (0, 0, 0, -1), (0, 0, 0, 0, 0)])
def test_path_outside_the_space_is_refused(path):
    with pytest.raises(InputError, match='outside the space'):
        SubnetSpace().index(path)


@pytest.mark.parametrize('call', [
    lambda: SubnetSpace().path(256), lambda: SubnetSpace().path(-1), lambda: SubnetSpace().phase(5),
    lambda: SubnetSpace().prefixes(5), lambda: SubnetSpace(num_groups=0)
])
def test_number_outside_the_space_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_space_knows_no_torch():
    # The package itself needs torch; its two leaf modules must not, so they are loaded on their own.
    code = ("import sys, types; package = types.ModuleType('sdr_mm'); package.__path__ = ['sdr_mm']; "
            "sys.modules['sdr_mm'] = package; import sdr_mm.space; assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
