//! Result codes of the protocol.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    Unknown = 1,
    NotFound = 2,
    Generation = 3,
    Parameter = 4,
    RecordExists = 5,
    OutOfSpace = 8,
    IncompatibleType = 12,
    RecordTooBig = 13,
    UnsupportedFeature = 16,
    KeyMismatch = 19,
    Namespace = 20,
    BinName = 21,
    EnterpriseOnly = 25,
    SecurityNotSupported = 51,
    BatchMaxRequests = 151,
    InvalidGeoJson = 160,
}
