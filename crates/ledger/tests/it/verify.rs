//! Verifying a sound ledger: what it reports.

use eparch_ledger::{Append, VerifyError};

use crate::home::{Home, entry, name};

#[test]
fn r121_a_sound_ledger_is_clean_and_the_report_says_what_it_rests_on() {
    let home = Home::with_history(300);
    let report = home.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(report.anchors_outside_home, "the witness folder is outside");
    assert_eq!(report.notices, Vec::<String>::new());
    let names: Vec<_> = report.tenants.iter().map(|tenant| tenant.tenant.as_str()).collect();
    assert_eq!(names, ["acme", "zeta"]);
    for tenant in &report.tenants {
        assert_eq!((tenant.entries, tenant.anchored, tenant.beyond_last_anchor), (300, 300, 0));
        assert!(tenant.checkpoints >= 7);
    }
    let mut options = home.options();
    options.anchors.pop();
    options.tenant = Some(name("zeta"));
    let report = options.run().unwrap();
    assert!(report.is_clean() && !report.anchors_outside_home);
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
fn r118_a_journal_of_a_newer_version_is_not_called_damaged() {
    let home = Home::with_history(10);
    home.raw().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(home.options().run(), Err(VerifyError::TooNew { .. })));
}
