//! The holder when it is not well: asked by somebody who says nothing, without a disk, without read models.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::console::{Going, Place, is_there, one_stage, wait_until};

/// A home of ada's, and a run of hers that waits at a gate.
fn waiting(place: &Place) -> String {
    place.ok(&["init", "--owner", "ada"]);
    let gate =
        "name: gated\nstages:\n  - name: review\n    type: gate\n    config: {approvers: [team-lead]}\n";
    place.ok(&["run", &place.file("gate.yaml", gate), "--detach"]).trim().to_owned()
}

/// Connects to the holder and says half of something, once the holder has nothing else to do.
fn half_a_request(place: &Place) -> (UnixStream, Pid) {
    place.ok(&["runs", "list"]);
    let holder = place.holder().unwrap();
    let mut half = UnixStream::connect(place.home().join("control.sock")).unwrap();
    half.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
    wait_until("the holder leaves", || (!is_there(place.home().join("control.sock"))).then_some(()));
    (half, holder)
}

#[test]
fn a_caller_who_never_says_what_they_want_keeps_nobody_else_from_the_home() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let (half, holder) = half_a_request(&place);
    place.ok(&["runs", "list"]);
    assert_ne!(place.holder(), Some(holder));
    drop(half);
}

#[test]
fn a_holder_that_waits_for_its_last_callers_ends_when_it_is_told_to() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let mut child = held_by_a_child(&place);
    let (half, holder) = half_a_request(&place);
    assert_eq!(holder.as_raw_nonzero().get(), i32::try_from(child.id()).unwrap());
    kill_process(holder, Signal::TERM).unwrap();
    let ended = wait_until("it ends", || child.try_wait().unwrap());
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
    drop(half);
}

/// Starts a holder of its own, which is told when a file may not grow, rather than ended.
pub(crate) fn held_by_a_child(place: &Place) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" __hold", env!("CARGO_BIN_EXE_eparch")]);
    command.env("EPARCH_HOME", place.home()).stdin(Stdio::null());
    let child = command.spawn().unwrap();
    wait_until("it holds the home", || place.holder());
    child
}

/// Limits how large a file a process may make.
pub(crate) fn limit(holder: Pid, bytes: Option<u64>) {
    prlimit(Some(holder), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn g1_a_ledger_that_cannot_be_written_is_told_as_that() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let mut child = held_by_a_child(&place);
    let holder = place.holder().unwrap();
    limit(holder, Some(1));
    let file = place.file("p.yaml", &one_stage("true"));
    for _ in 0..2 {
        let said = place.say(&["run", &file]);
        assert_eq!(said.code, 69, "{said:?}");
        assert!(said.err.contains("EP0510") || said.err.contains("EP0513"), "{said:?}");
    }
    let said = place.say(&["runs", "logs", "run_00000000000000000000000001"]);
    assert!(said.code == 69 && said.err.contains("EP0510"), "{said:?}");
    let said = place.say(&["doctor", "--format", "json"]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.out.contains("denies everything") && !said.out.contains("something else"), "{said:?}");
    // Why is for operators, also while nobody can say whose key it is; a key of nobody here is none.
    let causes = ["too large", "reopened", "did not answer"];
    let tells_why = |said: &str| causes.iter().any(|cause| said.contains(cause));
    assert!(tells_why(&said.out), "{said:?}");
    let key = place.home().join("keys/operators/ada.key");
    fs::rename(&key, place.path("away")).unwrap();
    let said = place.say(&["doctor", "--format", "json"]);
    assert!(said.code == 69 && said.out.contains("denies everything"), "{said:?}");
    assert!(!tells_why(&said.out) && said.out.contains("told to operators alone"), "{said:?}");
    fs::rename(place.path("away"), key).unwrap();
    limit(holder, None);
    // It goes on by itself.
    place.ok(&["run", &file]);
    kill_process(holder, Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_ledger_that_fails_is_not_told_as_a_holder_that_died() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let mut child = held_by_a_child(&place);
    let gate =
        "name: gated\nstages:\n  - name: review\n    type: gate\n    config: {approvers: [team-lead]}\n";
    let run = place.ok(&["run", &place.file("gate.yaml", gate), "--detach"]).trim().to_owned();
    let watching = [place.start(&["runs", "resume", &run]), place.start(&["runs", "logs", &run, "--follow"])];
    let impatient = place.start(&["runs", "resume", &run]);
    for watching in [&watching[0], &impatient] {
        watching.until_told("gated");
    }
    let holder = place.holder().unwrap();
    let stop_in_vain = || assert_eq!(place.say(&["runs", "stop", &run]).code, 69);
    limit(holder, Some(1));
    // Whether the second of them follows by now can be seen only by what it is told.
    for watching in &watching {
        wait_until("it is told", || {
            stop_in_vain();
            watching.has_told("the holder goes on").then_some(())
        });
    }
    // Whoever does not want to wait for it need not.
    impatient.until_told("the holder goes on");
    impatient.signal(Signal::INT);
    let said = impatient.end();
    assert!(
        said.code == 69 && said.err.contains("EP0510") && said.err.contains("Stopping the run"),
        "{said:?}"
    );
    limit(holder, None);
    // It is written again: whoever watches goes on, and is there when the run ends.
    place.ok(&["runs", "stop", &run]);
    let said = watching.map(Going::end);
    assert_eq!(said.each_ref().map(|said| said.code), [3, 0], "{said:?}");
    for said in said {
        assert!(!said.err.contains("went away") && !said.err.contains("nothing was done"), "{said:?}");
    }
    kill_process(holder, Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn what_was_decided_is_not_told_to_have_failed_when_only_the_read_models_are_unwell() {
    let place = Place::new();
    let run = waiting(&place);
    // Whoever holds this byte of the views' index is their only writer.
    let lock = r#"use Fcntl; $| = 1; open(my $views, "+<", $ARGV[0]) or die;
        my $byte = pack("s s x4 q q i x4", F_WRLCK, 0, 120, 1, 0); fcntl($views, F_SETLKW, $byte) or die; print "locked\n"; sleep 600;"#;
    let mut perl = Command::new("perl")
        .args(["-e", lock])
        .arg(place.home().join("views.db-shm"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    perl.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    // Nor can they be made anew: a folder is in the way.
    let (views, kept) = (place.home().join("views.db"), place.home().join("kept.db"));
    fs::rename(&views, &kept).unwrap();
    fs::create_dir_all(views.join("in the way")).unwrap();
    let said = place.say(&["runs", "stop", &run]);
    // A run that cannot be watched is there all the same: whoever takes it for lost starts another one.
    let file = place.file("another.yaml", &one_stage("true"));
    let unseen = place.say(&["run", &file]);
    perl.kill().unwrap();
    perl.wait().unwrap();
    fs::remove_dir_all(&views).unwrap();
    fs::rename(&kept, &views).unwrap();
    assert!(unseen.code == 1 && unseen.err.contains("EP0530"), "{unseen:?}");
    let (_, again) = unseen.err.split_once("`eparch runs resume ").unwrap_or_else(|| panic!("{unseen:?}"));
    assert!(place.say(&["runs", "resume", again.split('`').next().unwrap()]).code == 0, "{again}");
    assert!(said.code == 0 && said.out.contains("is being ended"), "{said:?}");
    assert!(said.err.contains("cannot be shown"), "{said:?}");
    assert_eq!(place.json(&["runs", "show", &run])["status"], "STOPPED");
}

#[test]
fn whoever_holds_the_home_without_a_door_is_named() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let lock = place.home().join("journal.db.lock");
    fs::write(&lock, "4711\n").unwrap();
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let said = place.say(&["doctor"]);
    let mute = "process 4711 holds the home and does not answer";
    assert!(said.code == 69 && said.out.contains(mute), "{said:?}");
    let said = place.say(&["runs", "list"]);
    assert!(said.code == 69 && said.err.contains("EP0704") && said.err.contains(mute), "{said:?}");
    drop(held);
    place.ok(&["runs", "list"]);
}

#[test]
fn a_home_whose_keys_are_gone_is_not_fit_and_is_given_no_others() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let file = place.file("p.yaml", &one_stage("true"));
    place.ok(&["run", &file]);
    place.end_holder(Signal::TERM);
    fs::rename(place.home().join("keys"), place.path("away")).unwrap();
    let said = place.say(&["doctor"]);
    assert!(said.code == 69 && said.out.contains("its keys are gone"), "{said:?}");
    for words in [&["run", &file][..], &["init", "--owner", "ada"], &["runs", "list"]] {
        let said = place.say(words);
        assert!(said.code == 1 && said.err.contains("EP0505"), "{words:?}: {said:?}");
    }
    assert!(!is_there(place.home().join("keys")));
    // What it has written down can be read all the same, and be verified by whoever kept the public key.
    let key = place.path("away/ledger.pub").display().to_string();
    assert!(place.ok(&["ledger", "show"]).contains("ada"));
    place.ok(&["ledger", "query", "--by", "ada"]);
    place.ok(&["ledger", "verify", "--public-key", &key]);
    let gated = "name: gated\nstages:\n  - name: review\n    type: gate\n    config: {approvers: [ada]}\n";
    place.ok(&["pipeline", "validate", &place.file("gated.yaml", gated)]);
    for words in [&["ledger", "verify"][..], &["ledger", "prove", "1"], &["ledger", "export"]] {
        let said = place.say(words);
        assert!(said.code == 1 && said.err.contains("EP0719") && said.err.contains("ledger.pub"), "{said:?}");
    }
    fs::rename(place.path("away"), place.home().join("keys")).unwrap();
    assert_eq!(place.json(&["runs", "list"]).as_array().unwrap().len(), 1);
}
