use super::{Record, RecordError};
pub fn read_with_logs(_episode: &str, _logs: Option<&str>) -> Result<Record, RecordError> { Err(RecordError::Unknown) }
