//! One service at a time on a PostgreSQL store: two would both go on air, and each would write the log of a match from its own
//! state of it.

use super::open::postgres_connection;
use super::{Place, Result, StoreError};
use secrecy::{ExposeSecret, SecretString};
use sqlx::AnyConnection;
use std::time::Duration;

/// Number of a session's advisory lock, which counts within its database: `agentcas` in ASCII.
const LOCK: i64 = 0x6167_656e_7463_6173;
/// How often it is looked whether the connection that holds the lock is still there.
const LOOK: Duration = Duration::from_secs(5);
/// An answer takes at most this long.
const ANSWER: Duration = Duration::from_secs(10);
/// Pause between attempts while the server is away.
const AGAIN: Duration = Duration::from_secs(1);

/// The right to serve a store. Gone with its connection.
pub struct Hold {
    url: SecretString,
    connection: AnyConnection,
}

impl Hold {
    /// Takes the right to serve this store; None: another process has it. A store in a file needs none of this: who serves it
    /// locks its folder.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn take(url: &SecretString) -> Result<Option<Hold>> {
        sqlx::any::install_default_drivers();
        let taken = async {
            let mut connection = postgres_connection(url.expose_secret()).await?;
            // Numbers, because they mean the same to every driver.
            let lock = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END::bigint";
            let got: i64 = sqlx::query_scalar(lock).bind(LOCK).fetch_one(&mut connection).await?;
            Ok((got == 1).then(|| Hold { url: url.clone(), connection }))
        };
        tokio::time::timeout(ANSWER, taken).await.unwrap_or_else(|_| Err(late()))
    }

    /// Returns when another process serves the store. While the server is away nobody can say so: then it is asked again and
    /// again, and who comes first has it.
    pub async fn lost(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let look = sqlx::query("SELECT 1").execute(&mut self.connection);
            if matches!(tokio::time::timeout(ANSWER, look).await, Ok(Ok(_))) {
                continue;
            }
            tracing::warn!("the connection that holds the store is gone; it is taken again");
            self = loop {
                match Hold::take(&self.url).await {
                    Ok(Some(hold)) => {
                        tracing::info!("the store is held again");
                        break hold;
                    }
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!("the store cannot be held yet: {error}");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            };
        }
    }
}

fn late() -> StoreError {
    StoreError::Backend(format!("no answer within {} s", ANSWER.as_secs()))
}

impl Place {
    /// The address, of a server.
    pub fn server(&self) -> Option<&SecretString> {
        match self {
            Place::Postgres(url) => Some(url),
            _ => None,
        }
    }
}
