//! Publishing on a connection that is the caller's.

use sqlx::PgConnection;
use tharsis_core::{EventId, event::Event};

use super::{connect::Schema, publish, value::corrupt};
use crate::{
    Published, StoreError,
    failpoint::{Failpoint, reached},
    publishing::check,
};

pub(super) async fn publish_in(
    conn: &mut PgConnection,
    schema: &Schema,
    event: &Event,
    id: EventId,
) -> Result<Published, StoreError> {
    check(event)?;
    let ready = (event.clone(), event.idempotency());
    reached(Failpoint::PublishInBegun);
    let found = publish::insert(conn, schema, &[&ready], &[*id.as_uuid()]).await?;
    reached(Failpoint::PublishInWritten);
    let found = found
        .into_iter()
        .next()
        .ok_or_else(|| corrupt("the answer to a publish"))?;
    Ok(found.judge(&ready.1)?)
}
