//! Twelve planted faults, found in one go and at their exact places.

use crate::common::{checked, found};

#[test]
fn r058_twelve_planted_faults_are_twelve_diagnostics() {
    let text = include_str!("../fixtures/twelve-faults.yaml");
    assert_eq!(
        found(text),
        [
            ("EP0114", 1, 7),
            ("EP0114", 2, 10),
            ("EP0170", 4, 55),
            ("EP0140", 8, 15),
            ("EP0122", 11, 22),
            ("EP0115", 13, 13),
            ("EP0110", 14, 7),
            ("EP0131", 15, 35),
            ("EP0160", 16, 11),
            ("EP0130", 21, 34),
            ("EP0120", 23, 16),
            ("EP0125", 26, 16),
        ],
        "{}",
        checked(text).to_text()
    );
    assert!(checked(text).pipeline.is_none());
}
