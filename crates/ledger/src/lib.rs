#![doc = include_str!("../README.md")]

mod anchor;
mod batch;
mod boot;
mod condition;
mod connection;
mod entry;
mod export;
pub mod folder;
mod hold;
mod import;
mod keeper;
mod key;
mod ledger;
mod note;
mod open;
pub mod proof;
mod prove;
mod queue;
mod read;
mod repair;
mod schema;
mod seal;
mod settings;
mod snapshots;
pub mod tree;
mod verify;
pub mod views;
mod vouch;
mod wire;
mod witness;
mod write_error;
mod writer;

pub use anchor::last_note;
pub use entry::{
    Append, Appended, BODY_MAX, Document, EffectRef, Entry, NewDocument, NewEntry, SNAPSHOT_MAX, Snapshot,
};
pub use export::{ExportError, Exported};
pub use import::{ImportFinding, ImportReport, import_verify};
pub use keeper::AnchorHealth;
pub use key::{KeyError, LedgerKey};
pub use ledger::{Anchored, Health, Ledger, Pending};
pub use note::{BadNote, BadVerifierKey, Checkpoint, VerifierKey};
pub use open::OpenError;
pub use prove::{BadProof, EntryProof, PrefixProof, ProveError};
pub use read::{ReadError, Reader};
pub use schema::MigrateError;
pub use settings::Settings;
pub use verify::{Finding, Report, TenantReport, Verify, VerifyError, Wrong};
pub use write_error::WriteError;
