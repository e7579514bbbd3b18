//! A store of each kind, with all that it needs around it.

use crate::records;
use crate::support::dir::TempDir;
use crate::support::postgres::Postgres;
use agentcast::store::{Place, Store};
use sqlx::{AnyConnection, Connection};
use std::path::PathBuf;
use std::sync::Arc;

pub struct World {
    pub store: Store,
    pub place: Place,
    /// For looking past the store; a database in memory has none.
    pub url: Option<String>,
    pub dir: TempDir,
    _server: Option<Arc<Postgres>>,
}

impl World {
    pub async fn file() -> World {
        let dir = TempDir::new("store");
        let path = dir.path().join("agentcast.db");
        let url = Some(format!("sqlite://{}", path.display()));
        World::of(Place::Sqlite(path), url, dir, None).await
    }

    pub async fn memory() -> World {
        World::of(Place::Memory, None, TempDir::new("store"), None).await
    }

    pub async fn postgres() -> World {
        let server = Postgres::shared();
        let url = server.database().await;
        World::of(Place::Postgres(url.clone().into()), Some(url), TempDir::new("store"), Some(server)).await
    }

    /// Holds two tenants, each with an agent.
    async fn of(place: Place, url: Option<String>, dir: TempDir, server: Option<Arc<Postgres>>) -> World {
        let store = Store::open(&place).await.expect("an empty database can be opened");
        for (tenant, agent) in [("ten_1", "agt_1"), ("ten_2", "agt_2")] {
            store.add_tenant(&records::tenant(tenant)).await.unwrap();
            store.add_agent(&records::agent(agent, tenant)).await.unwrap();
        }
        World { store, place, url, dir, _server: server }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("agentcast.db")
    }

    /// A connection of our own, past the store; None for memory.
    pub async fn raw(&self) -> Option<AnyConnection> {
        match &self.url {
            Some(url) => Some(AnyConnection::connect(url).await.expect("the database takes another connection")),
            None => None,
        }
    }

    pub async fn end(self) {
        self.store.close().await;
    }
}
