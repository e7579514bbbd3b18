//! What agents use: counted here, kept by the store. No clock: the day is an argument.

use super::desired::Spent;
use crate::store::model::UsageDay;
use std::collections::BTreeMap;

/// One account an agent.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<String, Account>,
    /// Of days that are over, not written yet.
    closed: Vec<Usage>,
}

#[derive(Debug)]
struct Account {
    tenant: String,
    /// `2026-11-21`.
    day: String,
    spent: Spent,
    /// Not written yet, ms.
    stream_ms: i64,
    output_ms: i64,
}

/// Something to add to the store's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub tenant: String,
    pub agent: String,
    pub day: String,
    pub stream_seconds: i64,
    pub output_seconds: i64,
}

impl Ledger {
    /// Whether the agent's account is open for the month of `day`.
    pub fn knows(&self, agent: &str, day: &str) -> bool {
        self.accounts.get(agent).is_some_and(|account| month(&account.day) == month(day))
    }

    /// Opens an account with what the store has of this month. One that is open stays as it is.
    pub fn open(&mut self, tenant: &str, agent: &str, day: &str, rows: &[UsageDay]) {
        if self.knows(agent, day) {
            return;
        }
        let mine = || rows.iter().filter(|row| month(&row.day) == month(day));
        let spent = Spent {
            today_ms: mine().filter(|row| row.day == day).map(|row| row.stream_seconds * 1_000).sum(),
            month_output_ms: mine().map(|row| row.output_seconds * 1_000).sum(),
        };
        let account = Account { tenant: tenant.into(), day: day.into(), spent, stream_ms: 0, output_ms: 0 };
        self.accounts.insert(agent.into(), account);
    }

    /// `outputs`: destinations that received during these `ms`.
    pub fn add(&mut self, tenant: &str, agent: &str, day: &str, ms: i64, outputs: i64) {
        let account = self.accounts.entry(agent.into()).or_insert_with(|| Account {
            tenant: tenant.into(),
            day: day.into(),
            spent: Spent::default(),
            stream_ms: 0,
            output_ms: 0,
        });
        if account.day != day {
            self.closed.extend(account.write(agent));
            account.spent.today_ms = 0;
            if month(&account.day) != month(day) {
                account.spent.month_output_ms = 0;
            }
            account.day = day.into();
        }
        account.stream_ms += ms;
        account.output_ms += ms * outputs;
        account.spent.today_ms += ms;
        account.spent.month_output_ms += ms * outputs;
    }

    /// What the agent has used on this day and in its month. An agent that is off air has no figures added to it: those
    /// of days that are over count no more.
    pub fn spent(&self, agent: &str, day: &str) -> Spent {
        let Some(account) = self.accounts.get(agent) else { return Spent::default() };
        let mut spent = account.spent;
        if account.day != day {
            spent.today_ms = 0;
        }
        if month(&account.day) != month(day) {
            spent.month_output_ms = 0;
        }
        spent
    }

    /// Whole seconds to write; the rest waits.
    pub fn take(&mut self) -> Vec<Usage> {
        let mut out = std::mem::take(&mut self.closed);
        out.extend(self.accounts.iter_mut().filter_map(|(agent, account)| account.write(agent)));
        out
    }

    /// Something that could not be written.
    pub fn give_back(&mut self, usage: Usage) {
        match self.accounts.get_mut(&usage.agent) {
            Some(account) if account.day == usage.day => {
                account.stream_ms += usage.stream_seconds * 1_000;
                account.output_ms += usage.output_seconds * 1_000;
            }
            _ => self.closed.push(usage),
        }
    }
}

impl Account {
    fn write(&mut self, agent: &str) -> Option<Usage> {
        let (stream_seconds, output_seconds) = (self.stream_ms / 1_000, self.output_ms / 1_000);
        if stream_seconds == 0 && output_seconds == 0 {
            return None;
        }
        self.stream_ms %= 1_000;
        self.output_ms %= 1_000;
        let (tenant, day) = (self.tenant.clone(), self.day.clone());
        Some(Usage { tenant, agent: agent.into(), day, stream_seconds, output_seconds })
    }
}

fn month(day: &str) -> &str {
    day.get(..7).unwrap_or(day)
}

/// The day (UTC) of a Unix time in ms, as the store writes it.
pub fn day(wall: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(wall).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// First day of the month of this day.
pub fn month_begin(day: &str) -> String {
    format!("{}-01", month(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(day: &str, stream_seconds: i64, output_seconds: i64) -> UsageDay {
        UsageDay { agent_id: "a".into(), day: day.into(), stream_seconds, output_seconds }
    }

    #[test]
    fn seconds_are_written_once_and_none_is_lost_between() {
        let mut ledger = Ledger::default();
        for _ in 0..25 {
            ledger.add("t", "a", "2026-11-21", 100, 2);
        }
        let written = ledger.take();
        assert_eq!((written[0].stream_seconds, written[0].output_seconds), (2, 5));
        assert!(ledger.take().is_empty());
        ledger.give_back(written[0].clone());
        ledger.add("t", "a", "2026-11-21", 500, 0);
        let again = ledger.take();
        assert_eq!((again[0].stream_seconds, again[0].output_seconds), (3, 5));
        assert_eq!(ledger.spent("a", "2026-11-21"), Spent { today_ms: 3_000, month_output_ms: 5_000 });
    }

    #[test]
    fn a_new_day_begins_at_zero_and_the_month_goes_on() {
        let mut ledger = Ledger::default();
        let rows = [row("2026-10-31", 900, 900), row("2026-11-20", 60, 120), row("2026-11-21", 30, 30)];
        ledger.open("t", "a", "2026-11-21", &rows);
        assert!(ledger.knows("a", "2026-11-30") && !ledger.knows("a", "2026-12-01"));
        assert_eq!(ledger.spent("a", "2026-11-21"), Spent { today_ms: 30_000, month_output_ms: 150_000 });
        // Off air over midnight, and over the end of the month.
        assert_eq!(ledger.spent("a", "2026-11-22"), Spent { today_ms: 0, month_output_ms: 150_000 });
        assert_eq!(ledger.spent("a", "2026-12-01"), Spent::default());
        ledger.add("t", "a", "2026-11-21", 2_000, 1);
        ledger.add("t", "a", "2026-11-22", 1_000, 1);
        assert_eq!(ledger.spent("a", "2026-11-22"), Spent { today_ms: 1_000, month_output_ms: 153_000 });
        let days: Vec<_> = ledger.take().into_iter().map(|u| (u.day, u.stream_seconds)).collect();
        assert_eq!(days, [("2026-11-21".into(), 2), ("2026-11-22".into(), 1)]);
        ledger.add("t", "a", "2026-12-01", 1_000, 1);
        assert_eq!(ledger.spent("a", "2026-12-01"), Spent { today_ms: 1_000, month_output_ms: 1_000 });
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(1_795_305_599_999), "2026-11-21");
        assert_eq!(month_begin("2026-11-21"), "2026-11-01");
    }
}
