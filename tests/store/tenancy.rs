use crate::records::*;
use crate::world::World;
use agentcast::store::model::*;
use agentcast::store::{Page, PageRequest, Store, StoreError};

const ALL: PageRequest = PageRequest { after: None, limit: 200 };

pub async fn another_tenant_sees_and_changes_nothing(w: &World) {
    let s = &w.store;
    s.add_destination(&destination("dst_1", "agt_1", "ten_1")).await.unwrap();
    s.put_key(Some("ten_1"), &sealed("dst_1", "agt_1")).await.unwrap();
    s.set_avatar(Some("ten_1"), "agt_1", "ab12", b"png").await.unwrap();
    s.add_api_key(&api_key("key_1", Some("ten_1")), &[1; 32]).await.unwrap();
    s.add_api_key(&api_key("key_2", None), &[2; 32]).await.unwrap();
    s.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    s.add_session(&session("ses_1", "mat_1", "ten_1")).await.unwrap();
    s.put_stream(&stream("str_1", "agt_1", "ten_1")).await.unwrap();
    s.audit(&audit("ten_1", "a", 1)).await.unwrap();
    s.audit(&AuditEntry { tenant_id: None, ..audit("", "flag.streaming.off", 2) }).await.unwrap();
    s.add_usage("ten_1", "agt_1", "2026-11-21", 60, 60).await.unwrap();
    let before = everything(s, None).await;

    let other = Some("ten_2");
    let mut answers: Vec<Result<(), StoreError>> = vec![
        s.agent(other, "agt_1").await.map(drop),
        s.set_enabled(other, "agt_1", true).await.map(drop),
        s.delete_agent(other, "agt_1").await,
        s.set_avatar(other, "agt_1", "x", b"x").await.map(drop),
        s.avatar(other, "agt_1").await.map(drop),
        s.destination(other, "dst_1").await.map(drop),
        s.destinations(other, "agt_1").await.map(drop),
        s.delete_destination(other, "dst_1").await,
        s.put_key(other, &SealedKey { blob: vec![1], ..sealed("dst_1", "agt_1") }).await,
        s.delete_key(other, "dst_1").await,
        s.revoke_api_key(other, "key_1", 9).await.map(drop),
        s.revoke_api_key(other, "key_2", 9).await.map(drop),
        s.match_(other, "mat_1").await.map(drop),
        s.session(other, "ses_1").await.map(drop),
        s.revoke_session(other, "ses_1", 9).await,
        s.stream(other, "str_1").await.map(drop),
    ];
    answers.push(s.update_agent(&agent("agt_1", "ten_2"), None).await.map(drop));
    answers.push(s.update_destination(&destination("dst_1", "agt_1", "ten_2"), None).await.map(drop));
    for (n, answer) in answers.into_iter().enumerate() {
        assert!(matches!(answer, Err(StoreError::NotFound(_))), "call {n}: {answer:?}");
    }
    // The other tenant's own agent is all it has.
    assert_eq!(everything(s, other).await, format!("{:?}", [agent("agt_2", "ten_2").id]));
    assert_eq!(everything(s, None).await, before);
    assert!(s.sealed_key("dst_1").await.unwrap() == Some(sealed("dst_1", "agt_1")));
    assert_eq!(s.avatar(None, "agt_1").await.unwrap().as_deref(), Some(&b"png"[..]));
}

/// Ids and details of all that a tenant can list.
async fn everything(s: &Store, tenant: Option<&str>) -> String {
    let mut all: Vec<String> = Vec::new();
    all.extend(
        s.agents(tenant, &ALL)
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|a| if tenant.is_none() { format!("{a:?}") } else { a.id }),
    );
    all.extend(s.api_keys(tenant, &ALL).await.unwrap().items.iter().map(|k| format!("{k:?}")));
    all.extend(s.matches(tenant, &ALL).await.unwrap().items.iter().map(|m| format!("{m:?}")));
    all.extend(s.sessions(tenant, &ALL).await.unwrap().items.iter().map(|x| format!("{x:?}")));
    all.extend(s.streams(tenant, &ALL).await.unwrap().items.iter().map(|x| format!("{x:?}")));
    all.extend(s.audit_log(tenant, &ALL).await.unwrap().items.iter().map(|x| format!("{x:?}")));
    all.extend(s.usage(tenant, None, "2026-01-01", "2026-12-31").await.unwrap().iter().map(|x| format!("{x:?}")));
    format!("{all:?}")
}

pub async fn lists_are_walked_without_gaps_or_repeats(w: &World) {
    let s = &w.store;
    // All made in the same millisecond; some ids that languages sort otherwise than bytes do.
    let odd = ["agt_B", "agt_a", "agt_A", "agt_~", "agt_é", "agt_-x", "agt_ x"];
    let ids: Vec<String> = (0..23).map(|n| format!("agt_3{n:04}")).chain(odd.into_iter().map(str::to_owned)).collect();
    for id in &ids {
        s.add_agent(&agent(id, "ten_1")).await.unwrap();
        s.add_match(&match_(&id.replace("agt", "mat"), "ten_1")).await.unwrap();
        s.audit(&audit("ten_1", id, 7)).await.unwrap();
    }
    let mut rising = [&ids[..], &["agt_1".to_owned()]].concat();
    rising.sort();
    let walked = walk(7, async |page| s.agents(Some("ten_1"), &page).await.unwrap(), |a| a.id.clone()).await;
    assert_eq!(walked, rising);
    let mut falling: Vec<String> = ids.iter().map(|id| id.replace("agt", "mat")).collect();
    falling.sort_by(|a, b| b.cmp(a));
    let walked = walk(7, async |page| s.matches(None, &page).await.unwrap(), |m| m.id.clone()).await;
    assert_eq!(walked, falling);
    let walked = walk(7, async |page| s.audit_log(None, &page).await.unwrap(), |e| e.action.clone()).await;
    assert_eq!(walked, ids.iter().rev().cloned().collect::<Vec<_>>());

    // The record that a page begins after may go meanwhile.
    let first = s.agents(Some("ten_1"), &PageRequest { after: None, limit: 5 }).await.unwrap();
    s.delete_agent(None, &first.items[4].id).await.unwrap();
    let second = s.agents(Some("ten_1"), &PageRequest { after: first.next, limit: 5 }).await.unwrap();
    assert_eq!(second.items[0].id, rising[5]);
    // A page that ends with the list has no next one; a limit out of range is brought into it.
    let last = s.agents(Some("ten_1"), &PageRequest { after: None, limit: 30 }).await.unwrap();
    assert_eq!((last.items.len(), last.next), (30, None));
    assert_eq!(s.agents(None, &PageRequest { after: None, limit: 0 }).await.unwrap().items.len(), 1);
    assert_eq!(s.agents(None, &PageRequest { after: Some("zzz".into()), limit: 5 }).await.unwrap().items.len(), 0);
    let unknown = s.audit_log(None, &PageRequest { after: Some("x".into()), limit: 5 }).await.unwrap();
    assert_eq!((unknown.items, unknown.next), (Vec::new(), None));
}

async fn walk<T>(limit: u32, read: impl AsyncFn(PageRequest) -> Page<T>, id: impl Fn(&T) -> String) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = read(PageRequest { after, limit }).await;
        assert!(page.items.len() <= limit as usize);
        all.extend(page.items.iter().map(&id));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}
