//! Secrets with their versions.

use eparch_domain::limits;
use eparch_vault::{Fields, Reader, Secret, SecretPath, VaultError};

use super::promises;
use crate::home::{Home, fields, place};

async fn read(home: &Home, path: &SecretPath, version: Option<u32>) -> Result<(u32, Fields), VaultError> {
    let read = home.vault.read(Reader::Daemon, path, version).await?;
    Ok((read.version, read.fields))
}

fn one(text: &str) -> Fields {
    fields(&[("password", text)])
}

promises! {
    async fn r131_what_was_written_is_read(home) {
        let path = place("kv");
        let written = fields(&[("api_key", "a"), ("other", "b")]);
        assert_eq!(home.vault.write(&path, written.clone(), None).await.unwrap(), 1);
        assert_eq!(read(home, &path, None).await.unwrap(), (1, written));
    }

    async fn writing_again_makes_a_version(home) {
        let path = place("kv");
        for version in 1..=4 {
            let text = version.to_string();
            assert_eq!(home.vault.write(&path, one(&text), None).await.unwrap(), version);
            assert_eq!(read(home, &path, None).await.unwrap(), (version, one(&text)));
        }
    }

    async fn an_older_version_is_read_by_its_number(home) {
        let path = place("kv");
        for text in ["1", "2", "3"] {
            home.vault.write(&path, one(text), None).await.unwrap();
        }
        for version in 1..=3 {
            assert_eq!(read(home, &path, Some(version)).await.unwrap(), (version, one(&version.to_string())));
        }
    }

    async fn a_version_that_never_was_is_not_found(home) {
        let path = place("kv");
        home.vault.write(&path, one("1"), None).await.unwrap();
        for version in [0, 2, u32::MAX] {
            let found = read(home, &path, Some(version)).await;
            assert!(matches!(found, Err(VaultError::NotFound { .. })), "{version}: {found:?}");
        }
    }

    async fn the_last_ten_versions_are_kept(home) {
        let path = place("kv");
        for version in 1..=12 {
            home.vault.write(&path, one(&version.to_string()), None).await.unwrap();
        }
        for version in [1, 2] {
            let found = read(home, &path, Some(version)).await;
            assert!(matches!(found, Err(VaultError::NotFound { .. })), "{version}: {found:?}");
        }
        assert_eq!(read(home, &path, Some(3)).await.unwrap(), (3, one("3")));
    }

    async fn a_secret_that_is_not_there_is_not_found(home) {
        let found = read(home, &place("kv"), None).await;
        assert!(matches!(found, Err(VaultError::NotFound { .. })), "{found:?}");
    }

    async fn a_first_version_is_written_only_when_there_is_none(home) {
        let path = place("kv");
        assert_eq!(home.vault.write(&path, one("1"), Some(0)).await.unwrap(), 1);
        let again = home.vault.write(&path, one("2"), Some(0)).await;
        assert!(matches!(again, Err(VaultError::Changed { expected: 0 })), "{again:?}");
        assert_eq!(read(home, &path, None).await.unwrap(), (1, one("1")));
    }

    async fn a_version_is_written_only_over_the_expected_one(home) {
        let path = place("kv");
        home.vault.write(&path, one("1"), None).await.unwrap();
        let early = home.vault.write(&path, one("x"), Some(2)).await;
        assert!(matches!(early, Err(VaultError::Changed { expected: 2 })), "{early:?}");
        assert_eq!(home.vault.write(&path, one("2"), Some(1)).await.unwrap(), 2);
        let late = home.vault.write(&path, one("x"), Some(1)).await;
        assert!(matches!(late, Err(VaultError::Changed { expected: 1 })), "{late:?}");
        assert_eq!(read(home, &path, None).await.unwrap(), (2, one("2")));
    }

    async fn of_two_who_write_over_one_version_one_does(home) {
        let path = place("kv");
        home.vault.write(&path, one("1"), None).await.unwrap();
        let (a, b) = tokio::join!(
            home.vault.write(&path, one("a"), Some(1)),
            home.vault.write(&path, one("b"), Some(1)),
        );
        assert_ne!(a.is_ok(), b.is_ok());
        assert_eq!(read(home, &path, None).await.unwrap().0, 2);
    }

    async fn a_deleted_secret_is_not_found_in_any_version(home) {
        let path = place("kv");
        for text in ["1", "2"] {
            home.vault.write(&path, one(text), None).await.unwrap();
        }
        home.vault.delete(&path).await.unwrap();
        for version in [None, Some(1), Some(2)] {
            let found = read(home, &path, version).await;
            assert!(matches!(found, Err(VaultError::NotFound { .. })), "{version:?}: {found:?}");
        }
    }

    async fn g7_deleting_twice_is_no_mistake(home) {
        let path = place("kv");
        home.vault.delete(&path).await.unwrap();
        home.vault.write(&path, one("1"), None).await.unwrap();
        home.vault.delete(&path).await.unwrap();
        home.vault.delete(&path).await.unwrap();
    }

    async fn a_secret_that_was_deleted_begins_anew(home) {
        let path = place("kv");
        for text in ["1", "2"] {
            home.vault.write(&path, one(text), None).await.unwrap();
        }
        home.vault.delete(&path).await.unwrap();
        assert_eq!(home.vault.write(&path, one("3"), Some(0)).await.unwrap(), 1);
        assert_eq!(read(home, &path, None).await.unwrap(), (1, one("3")));
    }

    async fn what_lies_below_is_listed(home) {
        let folder = place("list");
        for name in ["b", "a", "c/d", "c/e", "a/f"] {
            let path = SecretPath::new(&format!("{folder}/{name}")).unwrap();
            home.vault.write(&path, one("x"), None).await.unwrap();
        }
        assert_eq!(home.vault.list(Some(&folder)).await.unwrap(), ["a", "a/", "b", "c/"]);
        let below = SecretPath::new(&format!("{folder}/c")).unwrap();
        assert_eq!(home.vault.list(Some(&below)).await.unwrap(), ["d", "e"]);
    }

    async fn what_lies_at_the_top_is_listed(home) {
        home.secret("top").await;
        let names = home.vault.list(None).await.unwrap();
        assert!(names.contains(&"top/".to_owned()) && names.is_sorted(), "{names:?}");
    }

    async fn a_folder_that_is_not_there_is_not_found(home) {
        let listed = home.vault.list(Some(&place("list"))).await;
        assert!(matches!(listed, Err(VaultError::NotFound { .. })), "{listed:?}");
    }

    async fn what_was_deleted_is_not_listed(home) {
        let folder = place("list");
        let path = |name: &str| SecretPath::new(&format!("{folder}/{name}")).unwrap();
        for name in ["a", "b"] {
            home.vault.write(&path(name), one("x"), None).await.unwrap();
        }
        home.vault.delete(&path("a")).await.unwrap();
        assert_eq!(home.vault.list(Some(&folder)).await.unwrap(), ["b"]);
    }

    async fn any_text_comes_back_as_it_was(home) {
        let path = place("kv");
        let texts = ["", " ", "a\nb\r\n", "\"\\\u{0}\u{1f}", "ä€😀", "{\"a\":1}", "null", "5", "</script>"];
        let written: Fields =
            texts.iter().enumerate().map(|(at, text)| (format!("f{at}"), Secret::from(*text))).collect();
        home.vault.write(&path, written.clone(), None).await.unwrap();
        assert_eq!(read(home, &path, None).await.unwrap().1, written);
    }

    async fn a_secret_may_have_no_fields(home) {
        let path = place("kv");
        home.vault.write(&path, Fields::new(), None).await.unwrap();
        assert_eq!(read(home, &path, None).await.unwrap(), (1, Fields::new()));
    }

    async fn a_secret_as_large_as_allowed_is_kept(home) {
        let path = place("kv");
        let largest = "x".repeat(limits::VAULT_SECRET_BYTES - "password".len());
        home.vault.write(&path, one(&largest), None).await.unwrap();
        assert_eq!(read(home, &path, None).await.unwrap().1, one(&largest));
    }

    async fn a_secret_that_is_one_byte_too_large_is_refused(home) {
        let path = place("kv");
        let larger = "x".repeat(limits::VAULT_SECRET_BYTES - "password".len() + 1);
        let written = home.vault.write(&path, one(&larger), None).await;
        assert!(matches!(written, Err(VaultError::TooMuch { .. })), "{written:?}");
        assert!(read(home, &path, None).await.is_err());
    }

    async fn a_secret_has_so_many_fields_and_no_more(home) {
        let path = place("kv");
        let many = |count: usize| -> Fields {
            (0..count).map(|number| (format!("f{number}"), Secret::from("x"))).collect()
        };
        home.vault.write(&path, many(limits::VAULT_SECRET_FIELDS), None).await.unwrap();
        let written = home.vault.write(&path, many(limits::VAULT_SECRET_FIELDS + 1), None).await;
        assert!(matches!(written, Err(VaultError::TooMuch { .. })), "{written:?}");
    }

    async fn a_field_is_called_by_a_name(home) {
        for name in ["", "a b", "a\n", "ä", "-a", &"a".repeat(65)] {
            let written = home.vault.write(&place("kv"), fields(&[(name, "x")]), None).await;
            assert!(matches!(written, Err(VaultError::BadField)), "{name:?}: {written:?}");
        }
    }
}
