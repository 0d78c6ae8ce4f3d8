//! How words, times and structures stand in a column.

use std::str::FromStr;

use eparch_domain::Tier;
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ViewsError, sql};
pub(super) use crate::entry::to_sql as count;

/// A word that serde writes as text.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        other => unreachable!("a word is written as text, not as {other:?}"),
    }
}

/// Anything, as JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what the journal holds is plain data")
}

/// A row being read: columns by name, and an error that names the column.
pub(super) struct Columns<'r>(pub(super) &'r Row<'r>);

impl Columns<'_> {
    pub(super) fn text(&self, column: &'static str) -> Result<String, ViewsError> {
        self.0.get(column).map_err(sql("read a column of the views"))
    }

    pub(super) fn text_or_null(&self, column: &'static str) -> Result<Option<String>, ViewsError> {
        self.0.get(column).map_err(sql("read a column of the views"))
    }

    /// A whole number that is not negative.
    pub(super) fn number<N: TryFrom<i64>>(&self, column: &'static str) -> Result<N, ViewsError> {
        let found: i64 = self.0.get(column).map_err(sql("read a column of the views"))?;
        N::try_from(found).map_err(|_| ViewsError::Damaged { column, found: found.to_string() })
    }

    pub(super) fn number_or_null<N: TryFrom<i64>>(
        &self,
        column: &'static str,
    ) -> Result<Option<N>, ViewsError> {
        let found: Option<i64> = self.0.get(column).map_err(sql("read a column of the views"))?;
        let number = found.map(|found| {
            N::try_from(found).map_err(|_| ViewsError::Damaged { column, found: found.to_string() })
        });
        number.transpose()
    }

    /// Something that is written as it is displayed.
    pub(super) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, ViewsError> {
        parse(column, self.text(column)?)
    }

    pub(super) fn parsed_or_null<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, ViewsError> {
        self.text_or_null(column)?.map(|text| parse(column, text)).transpose()
    }

    pub(super) fn tier(&self, column: &'static str) -> Result<Tier, ViewsError> {
        self.tier_or_null(column)?.ok_or_else(|| ViewsError::Damaged { column, found: "nothing".to_owned() })
    }

    pub(super) fn tier_or_null(&self, column: &'static str) -> Result<Option<Tier>, ViewsError> {
        let number: Option<u64> = self.number_or_null(column)?;
        let tier = number.map(|number| {
            Tier::from_number(number).ok_or_else(|| ViewsError::Damaged { column, found: number.to_string() })
        });
        tier.transpose()
    }

    /// Something that serde writes as a word.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, ViewsError> {
        unword(column, self.text(column)?)
    }

    pub(super) fn word_or_null<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, ViewsError> {
        self.text_or_null(column)?.map(|text| unword(column, text)).transpose()
    }

    /// Something written as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, ViewsError> {
        let found = self.text(column)?;
        serde_json::from_str(&found).map_err(|_| ViewsError::Damaged { column, found })
    }

    /// [`Columns::json`], or the default where nothing stands.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(
        &self,
        column: &'static str,
    ) -> Result<T, ViewsError> {
        if self.text_or_null(column)?.is_none() { Ok(T::default()) } else { self.json(column) }
    }
}

fn parse<T: FromStr>(column: &'static str, found: String) -> Result<T, ViewsError> {
    found.parse().map_err(|_| ViewsError::Damaged { column, found })
}

fn unword<T: DeserializeOwned>(column: &'static str, found: String) -> Result<T, ViewsError> {
    serde_json::from_value(Value::String(found.clone())).map_err(|_| ViewsError::Damaged { column, found })
}
