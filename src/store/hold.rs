//! One service at a time on a PostgreSQL store: two would both go on air, and each would write the log of a match from its own
//! state of it.

use super::open::postgres_connection;
use super::{Place, Result, StoreError};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AnyConnection, Executor};
use std::time::Duration;
use uuid::Uuid;

/// Number of a session's advisory lock, which counts within its database: `agentcas` in ASCII.
const LOCK: i64 = 0x6167_656e_7463_6173;
/// An answer takes at most this long.
const ANSWER: Duration = Duration::from_secs(10);
/// Pause between attempts while the server is away.
const AGAIN: Duration = Duration::from_secs(1);

/// The server ends a session that it does not hear of for 20 s, and the lock with it: a host that died says no goodbye, and TCP
/// alone takes hours to notice. Longer than a look and [`ANSWER`], so that who still runs learns of it first. A server that does
/// not know one of them (`idle_session_timeout` and `client_connection_check_interval` are of version 14) does without.
const SESSION: &[&str] = &[
    "SET statement_timeout = '30s'",
    "SET idle_session_timeout = '20s'",
    "SET tcp_user_timeout = '20s'",
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    // A process that ends while it is answered is noticed before the answer is.
    "SET client_connection_check_interval = '200ms'",
];

/// The wait is the server's: a connection that breaks is noticed at once, not after the pause.
const LOOK: &str = "SELECT 1 FROM pg_sleep(1)";

/// Who has the lock: 0, nobody any more; 1, a session of this name; 2, another one. Any role may see the names.
const WHOSE: &str = "SELECT COALESCE(MAX(CASE WHEN application_name = $1 THEN 1 ELSE 2 END), 0)::bigint
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = $2 AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The right to serve a store. Gone with its connection.
pub struct Hold {
    url: SecretString,
    /// All its sessions have it and no others do (`application_name`): also one whose answer never came may have got the lock.
    name: String,
    connection: AnyConnection,
}

/// What became of an attempt.
enum Taken {
    Held(AnyConnection),
    /// A session that we had before still has it, as the server has not noticed that its connection is gone; or it was freed
    /// just now.
    NotYet,
    Others,
}

impl Hold {
    /// Takes the right to serve this store; None: another process has it. It must be kept by [`Hold::lost`] from then on. A store
    /// in a file needs none of this: who serves it locks its folder.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn take(url: &SecretString) -> Result<Option<Hold>> {
        let name = format!("agentcast hold {}", Uuid::new_v4().simple());
        match attempt(url, &name).await? {
            Taken::Held(connection) => Ok(Some(Hold { url: url.clone(), name, connection })),
            Taken::NotYet | Taken::Others => Ok(None),
        }
    }

    /// Returns when another process serves the store. While the server is away nobody can say so: then it is asked again and
    /// again, and who comes first has it.
    pub async fn lost(self) {
        let Hold { url, name, mut connection } = self;
        loop {
            let look = sqlx::query(LOOK).execute(&mut connection);
            if matches!(tokio::time::timeout(ANSWER, look).await, Ok(Ok(_))) {
                continue;
            }
            tracing::warn!("the connection that holds the store is gone; it is taken again");
            drop(connection);
            connection = loop {
                match attempt(&url, &name).await {
                    Ok(Taken::Held(connection)) => {
                        tracing::info!("the store is held again");
                        break connection;
                    }
                    Ok(Taken::Others) => return,
                    Ok(Taken::NotYet) => {}
                    Err(error) => tracing::debug!("the store cannot be held yet: {error}"),
                }
                tokio::time::sleep(AGAIN).await;
            };
        }
    }
}

/// `name`: of the session, and of those that had it for us before.
async fn attempt(url: &SecretString, name: &str) -> Result<Taken> {
    sqlx::any::install_default_drivers();
    let attempt = async {
        let mut connection = postgres_connection(url.expose_secret()).await?;
        for statement in SESSION {
            match connection.execute(*statement).await {
                Ok(_) => {}
                Err(sqlx::Error::Database(error)) => tracing::debug!("{statement}: {error}"),
                Err(error) => return Err(error.into()),
            }
        }
        // Before it may get the lock: a session without its name would be taken for another process.
        let named = "SELECT set_config('application_name', $1, false)";
        sqlx::query(named).bind(name).execute(&mut connection).await?;
        // Numbers, because they mean the same to every driver.
        let lock = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END::bigint";
        let got: i64 = sqlx::query_scalar(lock).bind(LOCK).fetch_one(&mut connection).await?;
        if got == 1 {
            return Ok(Taken::Held(connection));
        }
        let whose: i64 = sqlx::query_scalar(WHOSE).bind(name).bind(LOCK).fetch_one(&mut connection).await?;
        Ok(if whose == 2 { Taken::Others } else { Taken::NotYet })
    };
    tokio::time::timeout(ANSWER, attempt).await.unwrap_or_else(|_| Err(late()))
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
