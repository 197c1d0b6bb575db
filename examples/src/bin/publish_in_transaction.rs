//! Publishes in the engine's own transaction: the decision and the event that tells of it are committed together, or
//! neither is.
//!
//!     cargo run -p tharsis-examples --bin publish_in_transaction
//!
//! It works in `engine.db` of the current folder. Deliver what it published with `tharsis run --database sqlite://engine.db`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use tharsis::{
    Emitter, Event, Options,
    payload::{
        ProductDiscountRecommendation, identity, product_discount_recommendation::Prediction,
    },
    sqlx::{self, Connection, SqliteConnection},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Opening creates the tables of Tharsis beside the engine's own, each prefixed `tharsis_`, and switches the file to
    // write-ahead logging. The engine's connections need not be ours.
    let emitter = Emitter::open("sqlite://engine.db", Options::default()).await?;
    let mut engine = SqliteConnection::connect("sqlite://engine.db").await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS decision (user TEXT NOT NULL, product TEXT NOT NULL, discount REAL NOT NULL)")
        .execute(&mut engine)
        .await?;

    let event = recommendation("3594918", "T-WTTBL-1", 30.0)?;

    // `BEGIN IMMEDIATE` waits for its turn to write at the start. A transaction that begins by reading and wants to write
    // later may find that another has written meanwhile, and must then be given up.
    let mut transaction = engine.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("INSERT INTO decision VALUES (?, ?, ?)")
        .bind("3594918")
        .bind("T-WTTBL-1")
        .bind(30.0)
        .execute(&mut *transaction)
        .await?;
    let published = emitter.publish_in(&mut transaction, &event).await?;
    transaction.commit().await?;

    // Only now may anybody hear of it. An engine in this process is told at once; one in another process looks by itself.
    emitter.wake();
    println!(
        "published {}{}",
        published.id,
        if published.duplicate {
            ", which was there already"
        } else {
            ""
        }
    );

    // What is rolled back was never published.
    let mut transaction = engine.begin_with("BEGIN IMMEDIATE").await?;
    let never = emitter
        .publish_in(
            &mut transaction,
            &recommendation("3594918", "T-WTTBL-2", 20.0)?,
        )
        .await?;
    transaction.rollback().await?;
    println!("rolled back {}, which nobody will hear of", never.id);

    println!("{} to be routed", emitter.remaining().await?.unrouted);
    Ok(())
}

/// Every id is the engine's own. The same decision published twice is one event.
fn recommendation(user: &str, product: &str, discount: f64) -> Result<Event, tharsis::Invalid> {
    ProductDiscountRecommendation::new()
        .prediction_id("a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::USER_ID, user)
        .prediction(
            Prediction::new(product, "Tank Top, blue, L")
                .discount(discount)
                .range(10.0, 50.0, 1.0),
        )
        .event()
}
