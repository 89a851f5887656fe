"""A processor's one line: name, widest instructions, and what holds libraries back from them."""

import pytest

from rsir_scale.runs.processor import describe, processor_name

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor @ 2.80GHz
flags\t\t: fpu sse2 avx avx2 avx512f avx512bw {more}

processor\t: 1
model name\t: Intel(R) Xeon(R) Processor @ 2.80GHz
flags\t\t: fpu sse2 avx avx2 avx512f avx512bw {more}
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd evtstrm\nCPU implementer\t: 0x41\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (XEON.format(more=""), "Intel(R) Xeon(R) Processor @ 2.80GHz, avx512"),
        (XEON.format(more="amx_bf16 amx_tile"), "Intel(R) Xeon(R) Processor @ 2.80GHz, amx"),
        (XEON.format(more="").replace(" avx512f", ""), "Intel(R) Xeon(R) Processor @ 2.80GHz, avx2"),
        (ARM, "aarch64, neon"),
        ("", "aarch64"),
        ("no colon\n\x00", "aarch64"),
    ],
)
def test_a_processor_is_named_with_the_widest_instructions_that_it_has(cpuinfo: str, name: str) -> None:
    assert describe(cpuinfo, {}, otherwise="aarch64") == name


def test_variables_that_limit_instructions_are_named_and_no_others() -> None:
    environment = {"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx2", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    told = describe(XEON.format(more=""), environment, otherwise="x86_64")
    assert told.endswith("@ 2.80GHz, avx512, ATEN_CPU_CAPABILITY=avx2, OPENBLAS_CORETYPE=SkylakeX")


def test_this_machine_has_a_processor_of_one_line() -> None:
    assert processor_name()
    assert "\n" not in processor_name()
