//! How much of everything.

use eparch_sandbox::{CageLimits, Program};

use crate::Test;
use crate::cage::{open, probing, root};
use crate::probes::{Found, finish, inside, outside, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("a_fork_bomb_ends_at_the_process_limit", fork_bomb),
    ("a_full_disk_is_the_agents_own", full_disk),
    ("files_without_end_have_one", many_files),
    ("open_files_and_core_dumps_are_limited", rlimits),
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
    let (_, out, _) = finish(&cage, &Program::new(["sh", "-c", "ulimit -n; ulimit -Hc"]));
    assert_eq!(String::from_utf8(out).unwrap(), "64\n0\n");
    let raised = Program::new(["sh", "-c", "ulimit -n 65"]);
    assert!(!finish(&cage, &raised).0.success(), "root {}", root());
    assert!(matches!(inside(&cage, &["status", "NoNewPrivs:\t1"]), Found::Worked));
}
