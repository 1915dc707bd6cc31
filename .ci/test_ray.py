"""`make test-ray`: experiments on a cluster of three nodes on this machine, with workers killed, a node taken away, and the driver killed.

    python .ci/test_ray.py             # every part, each in a process of its own
    python .ci/test_ray.py same        # one of them

Runs in the environment that `.ci/ray_env.py` makes. Ends with "N passed, M failed" and exits non-zero when something failed."""
import os, signal, subprocess, sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from parts import run_parts

SIZE = ["--set", "limit=6", "--set", "n_timed=2", "--set", "repeats=1"]
SLOW = ["--set", "limit=24", "--set", "n_timed=2", "--set", "repeats=1"]  # long enough to be disturbed
ENV = dict(PYTHONPATH=str(Path(__file__).parent), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RAY_DEDUP_LOGS="0", OMP_NUM_THREADS="1",
           RAY_raylet_start_wait_time_s="300", RAY_gcs_server_request_timeout_seconds="120")  # a busy machine starts nodes slowly


@contextmanager
def nodes(n=3, cores=1):
    "A cluster on this machine: its address and its nodes."
    from ray.cluster_utils import Cluster
    found = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0)) # the head has no cores: without it there is no cluster
    try:
        made = [found.add_node(num_cpus=cores) for _ in range(n)]
        yield found, made
    finally: found.shutdown()


def command(out, *more, name="table6"):
    return [sys.executable, "-c", "from ipcv.cli import app; app(prog_name='ipcv')", "reproduce", *([name] if name else []), "--out", str(out), *more]


def run(out, *more, name="table6"):
    "The command, to its end: what it printed."
    done = subprocess.run(command(out, *more, name=name), capture_output=True, text=True)
    if done.returncode: raise RuntimeError((done.stdout + done.stderr)[-3000:])
    return done.stdout + done.stderr


def table(out, experiment="table6_ablation"):
    "The columns of a table that no clock decides."
    import pandas as pd
    found = pd.read_csv(next(Path(out).glob(f"{experiment}/*-reading/table.csv")))
    return found[[c for c in found if "latency" not in c or c.startswith("paper")]]


def answers(out):
    "Files of answers -> when they were written."
    found = {}
    for p in Path(out).glob("answers/**/*.parquet"):
        try: found[p] = p.stat().st_mtime_ns
        except FileNotFoundError: pass # being replaced
    return found


class Seen:
    "Files of answers as they appear in a folder, looked at all the time: a file that is written again is a question that was answered twice."
    def __init__(self, out):
        self.out, self.times, self.twice, self.over = Path(out), {}, set(), Event()
        self.thread = Thread(target=self.look, daemon=True)
        self.thread.start()
    def look(self):
        while not self.over.wait(.05):
            for path, time_ns in answers(self.out).items():
                if self.times.setdefault(path, time_ns) != time_ns: self.twice.add(path)
    def __enter__(self): return self
    def __exit__(self, *error):
        self.over.set()
        self.thread.join()
        if error[0] is None: assert self.times and not self.twice, f"answered twice: {self.twice}"


def check_once(out, early):
    "Every question was answered once under every method: no file was written again, no answer is there twice."
    import pandas as pd
    late = answers(out)
    assert early and all(late[p] == t for p, t in early.items()), "a file of answers was written twice"
    rows = pd.concat([pd.read_parquet(p) for p in late])
    assert not rows.duplicated(["method", "id"]).any() and rows.groupby("method").id.nunique().nunique() == 1
    print(f"  {len(early)} of {len(late)} files of answers were there before, {len(rows)} answers, none twice", flush=True)


def equal(got, want):
    import pandas as pd
    pd.testing.assert_frame_equal(got, want, check_exact=True)


def alone(size):
    "The table without a cluster; made once for all parts."
    from ipcv.measure.environment import package_code
    home = Path(tempfile.gettempdir()) / f"ipcv-test-ray-{package_code()}-{'-'.join(size[1::2])}"
    run(home, *size)
    return table(home)


def watch(out, process, enough):
    "Wait until some files of answers are there; what is there then."
    until = time.time() + 300
    while len(found := answers(out)) < enough:
        assert process.poll() is None, "ended before it could be disturbed"
        assert time.time() < until, "no answers within 300 s"
        time.sleep(.2)
    return found


def workers(task):
    "Process ids of Ray's workers that run a task of this name now."
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if line.split(None, 1)[1].startswith(f"ray::{task}")]


def kill(task):
    "Kill a worker that runs such a task, as soon as there is one."
    until = time.time() + 120
    while not (found := workers(task)):
        assert time.time() < until, f"no worker runs {task}"
        time.sleep(.1)
    print(f"  kill {found[0]}, which runs {task}", flush=True)
    os.kill(found[0], signal.SIGKILL)


def same():
    "The same table as without a cluster, to the digit."
    with tempfile.TemporaryDirectory() as home, nodes() as (found, _):
        home = Path(home)
        want = alone(SIZE)
        print("  " + "\n  ".join(line for line in run(home / "three", *SIZE, "--ray", found.address).splitlines() if "[" in line or "pieces" in line))
        equal(table(home / "three"), want)
        print(f"  {len(want)} rows equal", flush=True)


def disturbed(disturb, enough=4):
    "A run that is disturbed in the middle: the same table, every question once."
    with tempfile.TemporaryDirectory() as home, nodes() as (found, made):
        home = Path(home)
        want = alone(SLOW)
        log = (home / "log").open("w+")
        process = subprocess.Popen(command(home / "three", *SLOW, "--ray", found.address), stdout=log, stderr=subprocess.STDOUT)
        early = watch(home / "three", process, enough)
        disturb(found, made, (home / "log").read_text().splitlines())
        status = process.wait(600)
        log.seek(0)
        lines = log.read().splitlines()
        print("  " + "\n  ".join(line for line in lines if line.startswith(("[", "  table6"))), flush=True)
        assert status == 0, lines[-5:]
        equal(table(home / "three"), want)
        check_once(home / "three", early)
        return lines


def killed_piece():
    "A worker that answers pieces is killed by its process id."
    disturbed(lambda found, made, said: kill("Worker.run"), enough=1)


def killed_experiment():
    "The worker that runs the experiment is killed by its process id: it begins again where it was."
    assert any("begins again" in line for line in disturbed(lambda found, made, said: kill("run_on_node")))


def lost_node():
    "The node that runs the experiment is taken away."
    def disturb(found, made, said):
        begin = next(line for line in said if ", on " in line)  # the last six characters are those of the node's id
        victim = next(n for n in made if n.node_id.startswith(begin.rstrip(")")[-6:]))
        print(f"  remove the node of: {begin}", flush=True)
        found.remove_node(victim)
    assert any("is lost" in line for line in disturbed(disturb))


def killed_driver():
    "The command itself is killed, and typed again."
    with tempfile.TemporaryDirectory() as home, nodes() as (found, _):
        home = Path(home)
        want = alone(SLOW)
        process = subprocess.Popen(command(home / "three", *SLOW, "--ray", found.address), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        watch(home / "three", process, 4)
        process.kill()
        process.wait()
        until = time.time() + 60
        while workers("run_on_node") or workers("Worker.run"):
            assert time.time() < until, "workers outlive the command by a minute"
            time.sleep(.5)
        early = answers(home / "three")
        run(home / "three", *SLOW, "--ray", found.address)
        equal(table(home / "three"), want)
        check_once(home / "three", early)


def raylets():
    "Process ids of the nodes of all clusters on this machine."
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout.splitlines()
    return {int(line.split()[0]) for line in listed if Path(line.split()[1]).name == "raylet"}


def stopped():
    "TERM ends the command and all that it started, on a cluster and with --ray local, which is one of its own whatever RAY_ADDRESS says."
    with tempfile.TemporaryDirectory() as home, nodes(n=1) as (found, _):
        before = raylets()
        for address in (found.address, "local"):
            out, log = Path(home) / address.replace(":", "-"), Path(home) / "log"
            process = subprocess.Popen(command(out, *SLOW, "--ray", address), stdout=log.open("w"), stderr=subprocess.STDOUT, env=os.environ | dict(RAY_ADDRESS=found.address))
            watch(out, process, 1)
            assert len(raylets() - before) == (address == "local")
            process.terminate()
            status, said = process.wait(60), log.read_text().splitlines()
            print(f"  {address}: {said[-1]}", flush=True)
            assert status == 128 + signal.SIGTERM and "interrupted" in said[-1], (status, said[-3:])
            until = time.time() + 30
            while workers("run_on_node") or raylets() - before:
                assert time.time() < until, "something of it stays"
                time.sleep(.5)


def several():
    "Two experiments at once, each on a node, which share answers: no question twice."
    with tempfile.TemporaryDirectory() as home, nodes() as (found, _):
        home = Path(home)
        notebooks = home / "notebooks"
        notebooks.mkdir()
        for name in ("table5_compatibility", "table6_ablation"):
            (notebooks / f"{name}.ipynb").write_text((Path(__file__).parent.parent / f"experiments/{name}.ipynb").read_text().replace(r'\"limit\": 12', r'\"limit\": 6').replace(r'\"limit\": 16', r'\"limit\": 6'))
        start = time.time()
        with Seen(home / "three"): said = run(home / "three", "--notebooks", str(notebooks), "--ray", found.address, name=None)
        print("  " + "\n  ".join(line for line in said.splitlines() if line.startswith(("[", "  table"))))
        print(f"  {time.time() - start:.0f} s")
        for experiment in ("table5_compatibility", "table6_ablation"): assert len(table(home / "three", experiment)) > 2
        check_once(home / "three", answers(home / "three"))


def here():
    "The node that this runs on."
    import ray
    return ray.get_runtime_context().get_node_id()


def hold(folder):
    "Keep a node until a file appears."
    (Path(folder) / "held").write_text(here())
    while not (Path(folder) / "go").exists(): time.sleep(.1)
    return here()


def apart():
    "Where times may be taken no core is leased: not while an experiment has the node, and no experiment begins on a node while a core of it is."
    from ipcv.integrations.ray import cluster
    with tempfile.TemporaryDirectory() as home, nodes(n=2, cores=2) as (found, _), cluster(found.address) as here_and_there:
        first, second = here_and_there.nodes()
        held = here_and_there.on(first, hold, home)
        until = time.time() + 60
        while not (Path(home) / "held").exists(): assert time.time() < until; time.sleep(.1)
        leases = []
        while len(leases) < 9 and (lease := here_and_there.lease()): leases.append(lease)
        assert [lease.submit(here).result(60) for lease in leases] == [second.id] * 2, "two cores, both of the other node"
        other = Path(home) / "other"
        other.mkdir()
        later = here_and_there.on(second, hold, other)
        (Path(home) / "go").touch()
        assert held.result(60) == first.id
        time.sleep(5)
        assert not (other / "held").exists(), "it waits for the cores that are leased"
        for lease in leases: lease.free()
        (other / "go").touch()
        assert later.result(60) == second.id
        print(f"  {len(leases)} cores leased, none of {first}; {second} was taken when they were given back", flush=True)


def refusals():
    "What cannot be done is said in one line, and leaves nothing."
    import socket
    with tempfile.TemporaryDirectory() as home, socket.create_server(("127.0.0.1", 0)) as silent:
        home = Path(home)
        cases = {"another server": (["--ray", f"127.0.0.1:{silent.getsockname()[1]}"], "something else listens there"), "no answer": (["--ray", "127.0.0.1:9"], "does not answer"), "no cluster here": (["--ray"], "does not answer"), "no address": (["--ray", "nowhere"], "HOST:PORT"),
                 "wrong parameter": (["--ray", "local", "--set", "limits=3"], "limits")}
        for what, (more, named) in cases.items():
            done = subprocess.run(command(home / "out", *more), capture_output=True, text=True)
            print(f"  {what}: {done.stderr.strip()[-200:]}")
            assert done.returncode == 1 and named in done.stderr and len(done.stderr.strip().splitlines()) == 1 and not (home / "out").exists()


PARTS = {part.__name__: part for part in (same, several, apart, killed_piece, killed_experiment, lost_node, killed_driver, stopped, refusals)}
if __name__ == "__main__": run_parts(__file__, PARTS, ENV)
