//! Verifying a sound ledger: what it reports.

use eparch_ledger::{Append, VerifyError, Wrong};

use crate::home::{Home, entry, name};

#[test]
fn r121_a_sound_ledger_is_clean_and_the_report_says_what_it_rests_on() {
    let home = Home::with_history(300);
    let report = home.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(report.witnessed, "the witness folder is outside");
    assert!(!report.anchors_outside_home, "that it is the witness folder, only the settings in the home say");
    assert_eq!(report.notices, Vec::<String>::new());
    let names: Vec<_> = report.tenants.iter().map(|tenant| tenant.tenant.as_str()).collect();
    assert_eq!(names, ["acme", "zeta"]);
    for tenant in &report.tenants {
        assert_eq!((tenant.entries, tenant.anchored, tenant.beyond_last_anchor), (300, 300, 0));
        assert!(tenant.checkpoints >= 7);
    }
    let mut options = home.options();
    options.named = home.settings.witness_dirs.clone();
    let report = options.run().unwrap();
    assert!(report.is_clean() && report.witnessed && report.anchors_outside_home, "{report:?}");
    assert_eq!(report.tenants[0].anchored_independently, 300);
    // What lies in the home falls to whoever controls that, whoever names it.
    options.anchors.pop();
    options.named = vec![home.settings.anchors_dir.clone()];
    let report = options.run().unwrap();
    assert!(report.is_clean() && !report.witnessed && !report.anchors_outside_home, "{report:?}");
    options.named.clear();
    options.tenant = Some(name("zeta"));
    let report = options.run().unwrap();
    assert!(report.is_clean() && !report.witnessed);
    assert_eq!(report.tenants.len(), 1);
}

#[test]
fn r121_entries_beyond_the_last_anchor_are_counted() {
    let home = Home::with_history(40);
    let ledger = home.open();
    let append = |after: u64| {
        let entries = vec![entry("acme", after + 1)];
        ledger.append(Append { tenant: name("acme"), after, entries }).unwrap();
    };
    // The first one is signed for at once, the others within a second.
    (40..60).for_each(append);
    let anchored = ledger.checkpoint_now(&name("acme")).unwrap();
    assert_eq!((anchored.size, anchored.missing.len()), (60, 0));
    (60..63).for_each(append);
    let report = home.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    let acme = &report.tenants[0];
    assert_eq!(acme.entries, 63);
    assert_eq!(acme.anchored + acme.beyond_last_anchor, 63);
    assert!(acme.beyond_last_anchor <= 3);
}

#[test]
fn r121_another_key_believes_nothing() {
    let home = Home::with_history(40);
    let other = Home::with_history(2);
    let mut options = home.options();
    options.keys = other.options().keys;
    let report = options.run().unwrap();
    assert!(!report.is_clean());
}

#[test]
fn r121_an_anchor_that_is_no_file_or_has_no_end_holds_up_nobody() {
    let home = Home::with_history(10);
    let elsewhere = home.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let pipe = elsewhere.join("acme.checkpoints");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let endless = std::fs::File::create(elsewhere.join("zeta.checkpoints")).unwrap();
    endless.set_len(100 << 30).unwrap();
    let mut options = home.options();
    options.anchors.push(elsewhere);
    let report = options.run().unwrap();
    assert!(
        report.notices.iter().any(|notice| notice.contains("not a regular file")),
        "{:?}",
        report.notices
    );
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(report.findings[0].what.contains("line 1: longer than any checkpoint"), "{:?}", report.findings);
}

#[test]
fn r121_a_witness_that_is_not_there_is_not_passed_over() {
    let home = Home::with_history(40);
    let away = home.dir.path().join("away");
    let empty = home.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let a_file = home.witness("acme");
    let hollow = home.dir.path().join("hollow");
    std::fs::create_dir(&hollow).unwrap();
    for tenant in ["acme", "zeta"] {
        std::fs::write(hollow.join(format!("{tenant}.checkpoints")), "").unwrap();
    }
    // Whoever asks for one gets an answer.
    for (dir, found) in [(&away, 1), (&a_file, 1), (&empty, 2), (&hollow, 2)] {
        let mut options = home.options();
        options.named.push(dir.clone());
        let report = options.run().unwrap();
        assert_eq!(report.findings.len(), found, "{}: {:?}", dir.display(), report.findings);
        assert!(
            report.findings.iter().all(|finding| finding.wrong == Wrong::Anchor),
            "{:?}",
            report.findings
        );
        assert!(report.findings[0].what.contains(&dir.display().to_string()), "{:?}", report.findings);
        assert!(!report.anchors_outside_home, "{}", dir.display());
    }
    // One that the settings name is missed.
    for (dir, missed) in [(&away, 1), (&a_file, 1), (&empty, 2), (&hollow, 2)] {
        let mut options = home.options();
        options.anchors.push(dir.clone());
        let report = options.run().unwrap();
        assert!(report.is_clean(), "{}: {:?}", dir.display(), report.findings);
        assert_eq!(report.notices.len(), missed, "{}: {:?}", dir.display(), report.notices);
    }
    // Nothing is missing of a ledger that has nothing yet.
    let fresh = Home::new();
    drop(fresh.open());
    assert_eq!(fresh.verify().notices, Vec::<String>::new());
}

/// Somebody with the home and without its key makes another key, and signs another history with it.
#[test]
fn r121_what_the_home_says_of_itself_binds_nobody_who_controls_it() {
    let (home, forged) = (Home::with_history(40), Home::with_history(30));
    let key = home.options().keys;
    let mut options = forged.options();
    let report = options.run().unwrap();
    assert!(report.is_clean() && report.witnessed && !report.anchors_outside_home, "{report:?}");
    options.named = home.settings.witness_dirs.clone();
    assert!(!options.run().unwrap().is_clean(), "the witness knows another history");
    options.named.clear();
    options.keys = key;
    assert!(!options.run().unwrap().is_clean(), "the key that is known has not signed it");
}

#[test]
fn r118_a_journal_of_a_newer_version_is_not_called_damaged() {
    let home = Home::with_history(10);
    home.raw().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(home.options().run(), Err(VerifyError::TooNew { .. })));
}
