//! `apikey` and `tenant`: API keys and tenants, straight in the store. The first admin's key can come from nowhere else.

use super::settings::SettingArgs;
use super::status::say;
use super::{database, usage};
use crate::secure::{api_key, new_id};
use crate::server::now_ms;
use crate::server::who::Who;
use crate::store::model::{ApiKey, ApiRole, AuditEntry, Tenant};
use crate::store::{PageRequest, Store, StoreError};
use anyhow::bail;
use clap::Subcommand;
use secrecy::ExposeSecret;
use std::io::Write;
use std::process::ExitCode;

/// Characters of a name, as the API takes it.
const LONGEST_NAME: usize = 200;
const PAGE: u32 = 200;

#[derive(Subcommand, Debug)]
pub(super) enum ApiKeys {
    /// Make a key. It is printed on standard output, alone and once: it cannot be read again
    Create {
        /// admin (the whole service), operator, game (feeds matches) or viewer
        #[arg(long, value_parser = role)]
        role: ApiRole,
        /// Whose key: id or name of the tenant. Not for an admin
        #[arg(long)]
        tenant: Option<String>,
        /// What it is for, 1 to 200 characters
        #[arg(long)]
        name: String,
        #[command(flatten)]
        settings: Box<SettingArgs>,
    },
    /// All keys: what they are for, not the keys themselves
    List {
        #[command(flatten)]
        settings: Box<SettingArgs>,
    },
    /// Refuse a key from now on
    Revoke {
        /// Its id: key_…
        id: String,
        #[command(flatten)]
        settings: Box<SettingArgs>,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum Tenants {
    /// Make a tenant; its id is printed on standard output
    Create {
        /// 1 to 200 characters
        name: String,
        #[command(flatten)]
        settings: Box<SettingArgs>,
    },
    /// All tenants
    List {
        #[command(flatten)]
        settings: Box<SettingArgs>,
    },
}

pub(super) fn api_keys(command: ApiKeys) -> anyhow::Result<ExitCode> {
    use ApiKeys::{Create, List, Revoke};
    let (Create { settings, .. } | List { settings } | Revoke { settings, .. }) = &command;
    let loaded = settings.load()?;
    database::block_on(async {
        let store = database::open(&loaded).await?;
        let done = match &command {
            Create { role, tenant, name, .. } => create(&store, *role, tenant.as_deref(), name).await,
            List { .. } => list(&store).await,
            Revoke { id, .. } => revoke(&store, id).await,
        };
        store.close().await;
        done
    })
}

pub(super) fn tenants(command: Tenants) -> anyhow::Result<ExitCode> {
    use Tenants::{Create, List};
    let (Create { settings, .. } | List { settings }) = &command;
    let loaded = settings.load()?;
    database::block_on(async {
        let store = database::open(&loaded).await?;
        let done = match &command {
            Create { name, .. } => create_tenant(&store, name).await,
            List { .. } => list_tenants(&store).await,
        };
        store.close().await;
        done
    })
}

async fn create(store: &Store, role: ApiRole, tenant: Option<&str>, name: &str) -> anyhow::Result<ExitCode> {
    let name = good_name("--name", name)?;
    let tenant = match (role, tenant) {
        (ApiRole::Admin, None) => None,
        (ApiRole::Admin, Some(_)) => return Err(usage("--tenant: an admin's key is for the whole service").into()),
        (_, None) => {
            let words =
                format!("--tenant: a key of role {role} belongs to a tenant; `agentcast tenant list` shows them");
            return Err(usage(words).into());
        }
        (_, Some(tenant)) => Some(find_tenant(store, tenant).await?),
    };
    let new = api_key::generate();
    let key = ApiKey {
        id: new.id,
        tenant_id: tenant.as_ref().map(|tenant| tenant.id.clone()),
        role,
        name: name.to_owned(),
        created_at: now_ms(),
        last_used_at: None,
        revoked_at: None,
    };
    store.add_api_key(&key, &new.hash).await?;
    let details = serde_json::json!({ "role": role, "name": key.name });
    audit(store, key.tenant_id.as_deref(), "api-key.create", &key.id, details).await?;
    // The only way that this secret leaves the program by, so not through the scrubber.
    writeln!(std::io::stdout().lock(), "{}", new.secret.expose_secret())?;
    let whose = tenant.map_or("the whole service".to_owned(), |tenant| format!("{:?}", tenant.name));
    say!("{}: role {role}, for {whose}. Keep the key: it is not shown again.", key.id);
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<36}  {:<8}  {:<36}  {:<20}  {:<20}  name", "id", "role", "tenant", "created", "last used")?;
    let mut page = PageRequest { after: None, limit: PAGE };
    loop {
        let keys = store.api_keys(None, &page).await?;
        for key in keys.items {
            let tenant = key.tenant_id.as_deref().unwrap_or("(all)");
            let used = match (key.revoked_at, key.last_used_at) {
                (Some(_), _) => "revoked".to_owned(),
                (None, Some(at)) => time(at),
                (None, None) => "never".to_owned(),
            };
            let (id, role, created) = (key.id, key.role.word(), time(key.created_at));
            writeln!(out, "{id:<36}  {role:<8}  {tenant:<36}  {created:<20}  {used:<20}  {}", key.name.escape_debug())?;
        }
        match keys.next {
            Some(next) => page.after = Some(next),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

async fn revoke(store: &Store, id: &str) -> anyhow::Result<ExitCode> {
    // Somebody may paste the whole key; its secret part goes no further.
    let id = api_key::id(id).unwrap_or(id);
    let Some((key, _)) = store.api_key(id).await? else { return Err(StoreError::NotFound("the API key").into()) };
    if key.revoked_at.is_some() {
        say!("{}: was revoked before", key.id);
        return Ok(ExitCode::SUCCESS);
    }
    let sessions = store.revoke_api_key(None, &key.id, now_ms()).await?.len();
    let details = serde_json::json!({ "name": key.name, "sessions": sessions });
    audit(store, key.tenant_id.as_deref(), "api-key.revoke", &key.id, details).await?;
    say!("{}: revoked, and {sessions} session(s) that it opened", key.id);
    Ok(ExitCode::SUCCESS)
}

async fn create_tenant(store: &Store, name: &str) -> anyhow::Result<ExitCode> {
    let name = good_name("NAME", name)?;
    let tenant = Tenant { id: new_id("ten"), name: name.to_owned(), created_at: now_ms() };
    store.add_tenant(&tenant).await?;
    let details = serde_json::json!({ "name": tenant.name });
    audit(store, Some(&tenant.id), "tenant.create", &tenant.id, details).await?;
    writeln!(std::io::stdout().lock(), "{}", tenant.id)?;
    Ok(ExitCode::SUCCESS)
}

async fn list_tenants(store: &Store) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<36}  {:<20}  name", "id", "created")?;
    for tenant in store.tenants().await? {
        writeln!(out, "{:<36}  {:<20}  {}", tenant.id, time(tenant.created_at), tenant.name.escape_debug())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// By id, or by a name that only one has.
async fn find_tenant(store: &Store, wanted: &str) -> anyhow::Result<Tenant> {
    let (mut by_id, mut by_name) = (None, Vec::new());
    for tenant in store.tenants().await? {
        if tenant.id == wanted {
            by_id = Some(tenant);
        } else if tenant.name == wanted {
            by_name.push(tenant);
        }
    }
    match (by_id, by_name.pop(), by_name.is_empty()) {
        (Some(tenant), ..) | (None, Some(tenant), true) => Ok(tenant),
        (None, Some(_), false) => bail!("--tenant {wanted:?}: several have that name; give the id"),
        (None, None, _) => {
            bail!("--tenant {wanted:?}: no such tenant; `agentcast tenant create NAME` makes one")
        }
    }
}

async fn audit(
    store: &Store,
    tenant: Option<&str>,
    action: &str,
    subject: &str,
    details: serde_json::Value,
) -> Result<(), StoreError> {
    let entry = AuditEntry {
        id: String::new(),
        at: now_ms(),
        tenant_id: tenant.map(str::to_owned),
        actor: Who::cli().actor,
        action: action.to_owned(),
        subject: subject.to_owned(),
        details,
        from: None,
    };
    store.audit(&entry).await
}

fn good_name<'a>(field: &str, name: &'a str) -> anyhow::Result<&'a str> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(usage(format!("{field}: 1 to {LONGEST_NAME} characters, no control characters")).into());
    }
    Ok(name)
}

fn role(word: &str) -> Result<ApiRole, String> {
    word.parse().map_err(|_| "admin, operator, game or viewer".into())
}

/// UTC, to the second.
fn time(at: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
