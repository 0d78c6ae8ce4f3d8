//! What holds for any bytes: never a panic, and what is read can be read again. The fuzz targets and the tests of the crate
//! both play it.
#![allow(dead_code, reason = "each target plays one of them")]

use eparch_vault::{Capability, Policy, SealKey};

/// A policy, and behind a NUL a path that is asked after.
pub(crate) fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (text, path) = text.split_once('\0').unwrap_or((&text, "secret/data/a"));
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(bad) => {
            let line = text.split('\n').nth(bad.line - 1).expect("the place is in the text");
            assert!(bad.column >= 1 && bad.column <= line.chars().count() + 1, "{bad}");
            return;
        }
    };
    let allowed = policy.capabilities(path);
    assert!(allowed.is_sorted() && !allowed.contains(&Capability::Deny), "{allowed:?}");
    let written: String = policy
        .rules()
        .iter()
        .map(|rule| {
            let names: Vec<String> =
                rule.capabilities.iter().map(|capability| format!("\"{}\"", capability.name())).collect();
            let wrap = rule.wrap.unwrap_or_default();
            let span = |name: &str, span: Option<_>| {
                span.map_or(String::new(), |span| format!("{name} = \"{span}\"\n"))
            };
            format!(
                "path \"{}\" {{\ncapabilities = [{}]\n{}{}}}\n",
                rule.path,
                names.join(", "),
                span("min_wrapping_ttl", wrap.least),
                span("max_wrapping_ttl", wrap.most),
            )
        })
        .collect();
    // Remarks and spaces away, a policy of the same length at most comes back; its times may be written longer.
    if let Ok(again) = Policy::parse(&written) {
        assert_eq!(again, policy, "{written}");
    } else {
        assert!(written.len() > text.len(), "{written}");
    }
}

/// Bytes that somebody put in the place of something sealed: as they are, and behind a beginning that is right.
pub(crate) fn sealed(bytes: &[u8]) {
    let key = SealKey::from_variable("test", &"5a".repeat(32)).expect("64 digits");
    assert!(key.unseal("place", bytes).is_err());
    let right = key.seal("place", &"secret".into()).expect("the machine has dice");
    let begun: Vec<u8> =
        right.iter().copied().take(bytes.len() % right.len()).chain(bytes.iter().copied()).collect();
    assert!(begun == right || key.unseal("place", &begun).is_err());
}
