//! Asks the server for what there is.

use super::ledger::{ListedRoom, Listing};
use crate::livekit::rooms::Rooms;
use crate::livekit::{ApiError, Server};
use livekit_api::services::ServiceResult;
use livekit_api::services::egress::{EgressClient, EgressListFilter, EgressListOptions};
use livekit_api::services::ingress::{IngressClient, IngressListFilter};
use livekit_protocol::EgressInfo;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Rooms whose participants are asked for at once.
const TOGETHER: usize = 8;
/// Jobs that are asked for one by one in a round; the others have their turn in the next one.
const MOST_LOOK_UPS: usize = 50;

pub(super) struct Lister {
    server: Server,
    rooms: Arc<Rooms>,
    egress: EgressClient,
    ingress: IngressClient,
}

impl Lister {
    pub fn new(server: &Server) -> Lister {
        let (url, key, secret) = (server.http_url(), server.key(), server.secret().expose_secret());
        Lister {
            server: server.clone(),
            rooms: Arc::new(Rooms::new(server)),
            egress: EgressClient::with_api_key(&url, key, secret).with_failover(false).with_request_timeout(TIMEOUT),
            ingress: IngressClient::with_api_key(&url, key, secret).with_failover(false).with_request_timeout(TIMEOUT),
        }
    }

    /// `asked_ms`: now. `running`: the egress jobs that are known not to have ended. What could be listed, and why the rest
    /// could not.
    pub async fn list(&self, asked_ms: i64, running: Vec<String>) -> Result<(Listing, Option<ApiError>), ApiError> {
        let mut asking = JoinSet::new();
        let mut rooms = Vec::new();
        for room in self.rooms.list().await? {
            if asking.len() >= TOGETHER {
                rooms.extend(asking.join_next().await.and_then(Result::ok));
            }
            let client = self.rooms.clone();
            asking.spawn(async move {
                // Of one that has ended meanwhile nobody is listed; the next round lacks the room.
                let participants = client.participants(&room.name).await.ok();
                ListedRoom { room, participants }
            });
        }
        rooms.extend(asking.join_all().await);
        let mut error = None;
        let egress = optional(self.egress(running).await, &mut error);
        let ingress = self.ingress.list_ingress(IngressListFilter::All).await;
        let ingress = optional(self.explained(ingress).await, &mut error);
        Ok((Listing { asked_ms, rooms, egress, ingress }, error))
    }

    /// The active jobs, and how those ended that are known and not among them.
    async fn egress(&self, running: Vec<String>) -> Result<Vec<EgressInfo>, ApiError> {
        let active = EgressListOptions { active: true, ..EgressListOptions::default() };
        let mut jobs = self.explained(self.egress.list_egress(active).await).await?;
        let missing: Vec<_> = running.into_iter().filter(|id| jobs.iter().all(|job| job.egress_id != *id)).collect();
        for (n, id) in missing.into_iter().enumerate() {
            let unknown = EgressInfo { egress_id: id.clone(), ..EgressInfo::default() };
            let filter = EgressListFilter::Egress(id);
            let options = EgressListOptions { filter, ..EgressListOptions::default() };
            if n >= MOST_LOOK_UPS {
                // Listed as what it is known to be: says nothing new and does not end it.
                jobs.push(unknown);
                continue;
            }
            match self.explained(self.egress.list_egress(options).await).await {
                Ok(found) => jobs.extend(found),
                Err(ApiError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(jobs)
    }

    async fn explained<T>(&self, result: ServiceResult<T>) -> Result<T, ApiError> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.server.explain(error, TIMEOUT).await),
        }
    }
}

/// None where it could not be listed. A server without redis has neither jobs nor ingresses, and an API key may not be
/// allowed to see them: that is no error.
fn optional<T>(listed: Result<T, ApiError>, why: &mut Option<ApiError>) -> Option<T> {
    match listed {
        Ok(listed) => return Some(listed),
        Err(ApiError::NoRedis { .. } | ApiError::NotAllowed) => {}
        Err(error) => *why = Some(error),
    }
    None
}
