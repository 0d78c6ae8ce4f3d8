//! Saved states: they save time, nothing else. One that is not exactly what the home's key signed is as good as none.

use eparch_domain::Name;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::entry::{Snapshot, to_sql};
use crate::note::VerifierKey;
use crate::read::{ReadError, Reader, head, sql, stored_hashes};
use crate::seal;
use crate::tree::{self, Frontier, Hash};
use crate::vouch::SavedState;

/// The root over a tenant's first `seq` entries, at most as many as there are.
pub(crate) fn root_at(connection: &Connection, tenant: i64, seq: u64) -> Result<Hash, ReadError> {
    match seq {
        0 => Ok(Frontier::default().root()),
        _ => tree::range_root(0, seq, &mut stored_hashes(connection, tenant)),
    }
}

impl Reader {
    /// The newest saved state that can be believed, and the seqs of newer ones that cannot.
    pub fn snapshot(
        &self,
        tenant: &Name,
        key: &VerifierKey,
    ) -> Result<(Option<Snapshot>, Vec<u64>), ReadError> {
        let mut passed_over = Vec::new();
        for seq in self.snapshot_seqs(tenant)?.into_iter().rev() {
            match self.snapshot_at(tenant, seq, key)? {
                Some(snapshot) => return Ok((Some(snapshot), passed_over)),
                None => passed_over.push(seq),
            }
        }
        Ok((None, passed_over))
    }

    /// After which entries a state was saved, in order.
    pub fn snapshot_seqs(&self, tenant: &Name) -> Result<Vec<u64>, ReadError> {
        let Some(id) = self.id(tenant)? else { return Ok(Vec::new()) };
        let doing = sql("list the snapshots");
        let mut rows = self
            .connection()
            .prepare_cached("SELECT seq FROM snapshot WHERE tenant = ?1 ORDER BY seq")
            .map_err(&doing)?;
        let rows = rows.query_map([id], |row| row.get::<_, i64>(0).map(i64::unsigned_abs)).map_err(&doing)?;
        rows.collect::<Result<_, _>>().map_err(&doing)
    }

    /// The state saved after entry `seq`; `None` when there is none, or none that can be believed.
    pub fn snapshot_at(
        &self,
        tenant: &Name,
        seq: u64,
        key: &VerifierKey,
    ) -> Result<Option<Snapshot>, ReadError> {
        let Some(id) = self.id(tenant)? else { return Ok(None) };
        let row = self
            .connection()
            .prepare_cached("SELECT body, signature FROM snapshot WHERE tenant = ?1 AND seq = ?2")
            .and_then(|mut row| {
                row.query_row(params![id, to_sql(seq)], |row| {
                    Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
                })
                .optional()
            })
            .map_err(sql("read a snapshot"))?;
        let Some((body, signature)) = row else { return Ok(None) };
        if seq > head(self.connection(), id)? {
            return Ok(None);
        }
        let seal = &seal::snapshot(id, to_sql(seq), &body);
        let root = &root_at(self.connection(), id, seq)?;
        let saved = SavedState { tenant: tenant.as_str(), seq, seal, root };
        Ok(saved.is_signed(&signature, std::slice::from_ref(key)).then_some(Snapshot { seq, body }))
    }
}
