use super::{Record, RecordError};

pub(super) fn read(_text: &str) -> Result<Record, RecordError> {
    Err(RecordError::Unknown)
}
