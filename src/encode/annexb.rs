//! The little of H.264's byte stream format (Rec. ITU-T H.264, Annex B and 7.3.2.1.1) that must be read to pass it on.

use bytes::Bytes;

/// `nal_unit_type` values (table 7-1).
pub mod nal {
    pub const SLICE: u8 = 1;
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const AUD: u8 = 9;
    pub const FILLER: u8 = 12;
}

/// The NAL units of an Annex B byte stream, without start codes; the first byte is the NAL header.
pub fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = start_code(data, 0);
    std::iter::from_fn(move || {
        let begin = at? + 3;
        at = start_code(data, begin);
        let end = at.unwrap_or(data.len());
        // A NAL unit never ends in a zero byte: zeros before a start code belong to the next one.
        let end = data[begin..end].iter().rposition(|&b| b != 0).map_or(begin, |i| begin + i + 1);
        Some(&data[begin..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// Type of a NAL unit.
pub fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |b| b & 0x1f)
}

/// Where the next `00 00 01` begins.
fn start_code(data: &[u8], from: usize) -> Option<usize> {
    let mut i = from;
    while i + 2 < data.len() {
        match data[i + 2] {
            1 if data[i] == 0 && data[i + 1] == 0 => return Some(i),
            0 => i += 1,
            _ => i += 3,
        }
    }
    None
}

/// The same access unit without the NAL units of the types in `drop`; `None` when there are none of them.
pub fn without(data: &[u8], drop: &[u8]) -> Option<Vec<u8>> {
    if !nal_units(data).any(|u| drop.contains(&nal_type(u))) {
        return None;
    }
    let mut out = Vec::with_capacity(data.len());
    for unit in nal_units(data).filter(|u| !drop.contains(&nal_type(u))) {
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(unit);
    }
    Some(out)
}

/// The codec parameter of RFC 6381 for an SPS in Annex B extradata, for example `avc1.640c1f`.
pub fn codec_string(extradata: &[u8]) -> Option<String> {
    let sps = nal_units(extradata).find(|u| nal_type(u) == nal::SPS)?;
    match sps {
        [_, profile, constraints, level, ..] => Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}")),
        _ => None,
    }
}

/// Sets `constraint_set4_flag` (frames only) and `constraint_set5_flag` (no B slices) in a High profile SPS: that pair
/// is what Constrained High means (A.2.4.2), and x264 leaves both unset although we have it keep to them.
pub(super) fn mark_constrained_high(extradata: &[u8]) -> Bytes {
    let mut out = extradata.to_vec();
    let mut from = 0;
    while let Some(at) = start_code(&out, from) {
        // The three bytes behind the header are never escaped: neither 0x64 nor 0x0c can be part of an emulated start code.
        if let [header, 100, constraints, ..] = &mut out[at + 3..]
            && *header & 0x1f == nal::SPS
        {
            *constraints |= 0x0c;
        }
        from = at + 3;
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        &[0, 0, 0, 1, 0x67, 100, 0, 31, 0, 0, 1, 0x68, 9, 0, 0, 0, 1, 0x0c, 0xff, 0x80, 0, 0, 1, 0x65, 7];

    #[test]
    fn mixed_start_codes_split_into_nal_units() {
        let types: Vec<_> = nal_units(STREAM).map(nal_type).collect();
        assert_eq!(types, [nal::SPS, nal::PPS, nal::FILLER, nal::IDR]);
        assert_eq!(nal_units(STREAM).nth(1), Some(&[0x68, 9][..]));
        assert_eq!(nal_units(&[]).count() + nal_units(&[0, 0, 1]).count() + nal_units(&[0, 0, 0, 0]).count(), 0);
    }

    #[test]
    fn filler_dropped_rest_stays() {
        let out = without(STREAM, &[nal::FILLER]).unwrap();
        assert_eq!(nal_units(&out).map(nal_type).collect::<Vec<_>>(), [nal::SPS, nal::PPS, nal::IDR]);
        assert!(without(&out, &[nal::FILLER]).is_none());
    }

    #[test]
    fn high_profile_marked_constrained_other_profiles_untouched() {
        assert_eq!(codec_string(STREAM).unwrap(), "avc1.64001f");
        assert_eq!(codec_string(&mark_constrained_high(STREAM)).unwrap(), "avc1.640c1f");
        let baseline = [0, 0, 1, 0x67, 66, 0xc0, 31, 1];
        assert_eq!(&mark_constrained_high(&baseline)[..], baseline);
        assert_eq!(codec_string(&[0, 0, 1, 0x67, 66]), None);
    }
}
