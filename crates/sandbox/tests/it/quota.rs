//! How much of everything.

use eparch_sandbox::{Bind, Cage, CageLimits, Exit, MeasureName, Program, Sandbox};

use crate::Test;
use crate::cage::{open, probing, root};
use crate::probes::{Found, finish, inside, only_outside, outside, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("a_fork_bomb_ends_at_the_process_limit", fork_bomb),
    ("a_full_disk_is_the_agents_own", full_disk),
    ("files_without_end_have_one", many_files),
    ("open_files_and_core_dumps_are_limited", rlimits),
    ("what_is_written_on_the_host_is_bounded_by_its_disk_alone_and_the_measure_says_so", host_disk),
    ("memory_without_end_ends_its_agent_and_nobody_else", memory),
    ("each_process_is_bounded_where_no_group_counts", memory_of_each),
    ("the_keeper_cannot_be_limited", keeper),
    ("terminals_are_bounded", terminals),
    ("file_watchers_of_an_ordinary_users_cage_are_bounded", watchers),
];

const PROCESSES: u64 = 20;

fn fork_bomb() {
    let mut spec = probing("fork-bomb");
    spec.limits = CageLimits { processes: PROCESSES, ..CageLimits::default() };
    let cage = open(&spec);
    let wanted = (PROCESSES * 2).to_string();
    assert_eq!(outside(&["breed", &wanted]), Found::Worked);
    let how = refused(&cage, &["breed", &wanted]);
    let (count, error) = how.split_once('\n').unwrap();
    let count: u64 = count.parse().unwrap();
    // The probe is one of them.
    assert_eq!(count, PROCESSES - 1);
    assert!(error.contains("Resource temporarily unavailable"), "{error}");
    // A real one, which the cage survives, and so does a neighbour.
    let neighbour = open(&probing("neighbour"));
    let mut bomb = Program::new(["bash", "-c", "b() { b | b & }; b; sleep 1000"]);
    bomb.timeout = Some(eparch_domain::Span::from_millis(300));
    bomb.grace = eparch_domain::Span::from_millis(50);
    let mut running = cage.start(&bomb).unwrap();
    drop((running.take_stdout(), running.take_stderr()));
    assert!(finish(&neighbour, &Program::new(["true"])).0.success());
    running.wait().unwrap();
    assert!(finish(&cage, &Program::new(["true"])).0.success());
}

fn full_disk() {
    let mut spec = probing("full-disk");
    spec.limits.workspace_bytes = 8 << 20;
    let cage = open(&spec);
    let outer = tempfile::tempdir().unwrap();
    let (within, beyond) = ((6u64 << 20).to_string(), (16u64 << 20).to_string());
    assert_eq!(outside(&["fill", outer.path().join("file").to_str().unwrap(), &beyond]), Found::Worked);
    for place in ["/workspace/file", "/tmp/file", "/dev/shm/file", "/home/agent/file"] {
        assert!(refused(&cage, &["fill", place, &beyond]).contains("No space left"), "{place}");
        let removed = finish(&cage, &Program::new(["rm", place]));
        assert!(removed.0.success());
        worked(&cage, &["fill", place, &within]);
        assert!(finish(&cage, &Program::new(["rm", place])).0.success());
    }
    // Together, not each.
    worked(&cage, &["fill", "/tmp/file", &within]);
    refused(&cage, &["fill", "/workspace/file", &within]);
}

fn many_files() {
    let mut spec = probing("many-files");
    spec.limits.workspace_inodes = 200;
    let project = tempfile::tempdir().unwrap();
    for project in [None, Some(project.path().into())] {
        spec.project = project;
        let cage = open(&spec);
        worked(&cage, &["files", "/workspace", "100"]);
        assert!(refused(&cage, &["files", "/tmp", "500"]).contains("No space left"));
        assert!(refused(&cage, &["files", "/workspace", "500"]).contains("No space left"));
    }
    let outer = tempfile::tempdir().unwrap();
    assert_eq!(outside(&["files", outer.path().to_str().unwrap(), "500"]), Found::Worked);
}

fn rlimits() {
    let mut spec = probing("rlimits");
    spec.limits.open_files = 64;
    let cage = open(&spec);
    let (_, out, _) = finish(&cage, &Program::new(["sh", "-c", "ulimit -n; grep core /proc/self/limits"]));
    let out = String::from_utf8(out).unwrap();
    // One byte, and no less: at any other number the kernel hands a core to the host's handler.
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words, ["64", "Max", "core", "file", "size", "1", "1", "bytes"]);
    // A program that asks for none is told yes, and it stays.
    assert_eq!(outside(&["no-cores"]), Found::Worked);
    assert_eq!(refused(&cage, &["no-cores"]), "it is Some(1)");
    assert!(finish(&cage, &Program::new(["sh", "-ec", "ulimit -c 0"])).0.success());
    let raised = Program::new(["sh", "-c", "ulimit -n 65"]);
    assert!(!finish(&cage, &raised).0.success(), "root {}", root());
    assert!(matches!(inside(&cage, &["status", "NoNewPrivs:\t1"]), Found::Worked));
}

const MIB: u64 = 1 << 20;

fn memory() {
    let mut spec = probing("memory");
    spec.limits.workspace_bytes = 8 * MIB;
    spec.limits.memory_bytes = 56 * MIB;
    let cage = open(&spec);
    let measure = cage.measures().iter().find(|measure| measure.name == MeasureName::MemoryLimit).unwrap();
    if !measure.to_string().contains("cgroup") {
        println!("no group counts memory here: {measure}");
        return;
    }
    let neighbour = open(&probing("neighbour"));
    let beyond = (128 * MIB).to_string();
    for probe in ["memory", "memory-file"] {
        assert_eq!(outside(&[probe, &beyond]), Found::Worked);
        let binary = std::env::current_exe().unwrap();
        let greedy = Program::new([binary.to_str().unwrap(), crate::probes::WORD, probe, &beyond]);
        let (ended, ..) = finish(&cage, &greedy);
        assert_eq!((ended.exit, ended.out_of_memory), (Exit::Signal(9), true), "{probe}");
        // The keeper lived to tell it, and goes on.
        let (ended, ..) = finish(&cage, &Program::new(["true"]));
        assert!(ended.success() && !ended.out_of_memory, "{probe}: {ended:?}");
        assert!(finish(&neighbour, &Program::new(["true"])).0.success());
    }
    let within = (16 * MIB).to_string();
    worked(&cage, &["memory", &within]);
    worked(&cage, &["memory-file", &within]);
}

fn memory_of_each() {
    let mut spec = probing("memory-of-each");
    // A folder that is no cgroup.
    let empty = tempfile::tempdir().unwrap();
    spec.cgroup_parent = Some(empty.path().into());
    spec.sandbox = Sandbox::BestEffort;
    spec.limits.memory_bytes = 96 * MIB;
    let cage = open(&spec);
    let measure = cage.measures().iter().find(|measure| measure.name == MeasureName::MemoryLimit).unwrap();
    let said = measure.to_string();
    assert!(
        measure.in_force() && said.contains("each process") && said.contains("shared memory not"),
        "{said}"
    );
    let beyond = (160 * MIB).to_string();
    assert_eq!(outside(&["memory", &beyond]), Found::Worked);
    refused(&cage, &["memory", &beyond]);
    worked(&cage, &["memory", &(32 * MIB).to_string()]);
    // As it says: these are counted only by a group.
    worked(&cage, &["memory-file", &beyond]);
}

fn host_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = probing("host-disk");
    spec.limits.workspace_bytes = MIB;
    let disk = |cage: &Cage| {
        cage.measures().iter().find(|measure| measure.name == MeasureName::DiskLimit).unwrap().to_string()
    };
    assert!(disk(&open(&spec)).ends_with("files)"));
    for inside in ["/workspace", "/data"] {
        spec.write = vec![Bind::new(folder.path(), inside)];
        let cage = open(&spec);
        let said = disk(&cage);
        assert!(said.contains(&format!("not in {inside}, which is the host's")), "{said}");
        // Nor is one file of the host's any smaller than its disk lets it.
        worked(&cage, &["fill", &format!("{inside}/large"), &(4 * MIB).to_string()]);
        refused(&cage, &["fill", "/tmp/large", &(4 * MIB).to_string()]);
    }
}

fn keeper() {
    let cage = open(&probing("limits-of-others"));
    let mut victim = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    assert_eq!(outside(&["limit", &victim.id().to_string()]), Found::Worked);
    refused(&cage, &["limit", "1"]);
    victim.kill().unwrap();
    victim.wait().unwrap();
}

fn terminals() {
    let cage = open(&probing("terminals"));
    // Each open file of /dev/ptmx is a terminal.
    let script = "my @held; while (@held < 100) { open(my $t, '+<', '/dev/ptmx') or last; push @held, $t } print scalar @held";
    let own = Program::new(["perl", "-e", script]);
    let out = String::from_utf8(finish(&cage, &own).1).unwrap();
    assert!(["64", "0"].contains(&out.as_str()), "{out}");
    let out = std::process::Command::new("perl").args(["-e", script]).output().unwrap();
    assert_eq!(out.stdout, b"100");
}

fn watchers() {
    if root() {
        println!("root's cage has no user namespace to bound them in");
        return;
    }
    let cage = open(&probing("watchers"));
    only_outside(&cage, &["watch", "40"]);
    worked(&cage, &["watch", "16"]);
}
