//! The words of `eparch secrets`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// Write a new version of a secret
    Put(PutSecret),
    /// Read a secret; who read which version is written down
    Get(GetSecret),
    /// List the secrets and folders directly below a path
    List {
        /// Below which path, as in inventory [default: the top]
        prefix: Option<String>,
    },
    /// Say which vault this home has, and how it is
    Status,
}

/// Why no value stands on the command line.
const WHERE_VALUES_COME_FROM: &str = "\
Values are typed at the terminal, where they are not shown, or come from standard input or from files. None is taken from the \
command line: whoever lists the processes of this machine reads it there, and the shell keeps it in its history.

  eparch secrets put services/dragonfly --field password < password.txt
  eparch secrets put production/database --field user=@user.txt --field password=@password.txt
  pass show db | eparch secrets put production/database

Of standard input and of what is typed, a line break at the end is left out; a file is taken as it is.

A path has parts of letters, digits, '.', '_' and '-', with / between them, and at most 256 characters; it is no secret \
itself. A field is called by 1 to 64 such characters.";

#[derive(Debug, Args)]
#[command(after_help = WHERE_VALUES_COME_FROM)]
pub(crate) struct PutSecret {
    /// Where, as in services/dragonfly
    pub(crate) path: String,
    /// A field, typed or from standard input; NAME=@FILE from a file, NAME=- from standard input; may be given several
    /// times [default: one called value]
    #[arg(short = 'f', long = "field", value_name = "NAME[=@FILE]", allow_hyphen_values = true)]
    pub(crate) fields: Vec<String>,
    /// Only when this is the newest version; 0 when there is none
    #[arg(long, value_name = "VERSION")]
    pub(crate) cas: Option<u32>,
    /// Take NAME=VALUE from the command line all the same, for what is no secret
    #[arg(long)]
    pub(crate) literal: bool,
    /// Taken here so that a value that stands in the wrong place is not repeated in a message.
    #[arg(hide = true, allow_hyphen_values = true)]
    pub(crate) stray: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GetSecret {
    /// Where it lies
    pub(crate) path: String,
    /// Print this field alone, as it is
    #[arg(short = 'f', long, value_name = "NAME")]
    pub(crate) field: Option<String>,
    /// This version [default: the newest]
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
}
