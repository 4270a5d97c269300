"""All benchmarks, one after the other: ``python -m tests.bench``."""

from tests.bench import (
    bench_archive,
    bench_audit,
    bench_epics_attack,
    bench_epics_decode,
    bench_epics_live,
    bench_epics_million,
    bench_epics_path,
    bench_epics_replay,
    bench_registration,
    bench_slow_signal,
    bench_slow_signal_files,
    bench_slow_signal_path,
    bench_tango_polling,
    bench_udp,
)

for bench in (
    bench_udp,
    bench_registration,
    bench_archive,
    bench_audit,
    bench_slow_signal,
    bench_slow_signal_files,
    bench_slow_signal_path,
    bench_tango_polling,
    bench_epics_decode,
    bench_epics_live,
    bench_epics_path,
    bench_epics_million,
    bench_epics_attack,
    bench_epics_replay,
):
    print(f"\n{bench.__doc__.splitlines()[0]}\n")
    bench.main()
