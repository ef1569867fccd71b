//! Identifiers given as plain text or as the types of the core.

use jeton_core::ids::{
    ClientId, DeviceId, HolderId, IdError, IssuerId, Jti, LockName, RecordKind, SessionId,
    SubjectId, TenantId,
};

/// What can name a `T`: text that is checked, or a `T`, which was.
pub trait IntoId<T>: sealed::Sealed {
    /// Checks it.
    ///
    /// # Errors
    /// [`IdError`] says what was wrong: 1 to 256 bytes of UTF-8 without control characters.
    fn into_id(self) -> Result<T, IdError>;
}

mod sealed {
    /// Keeps the set of implementations closed.
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for &String {}
}

macro_rules! into_id {
    ($($id:ident),*) => {$(
        impl sealed::Sealed for $id {}
        impl sealed::Sealed for &$id {}

        impl IntoId<$id> for $id {
            fn into_id(self) -> Result<$id, IdError> {
                Ok(self)
            }
        }

        impl IntoId<$id> for &$id {
            fn into_id(self) -> Result<$id, IdError> {
                Ok(self.clone())
            }
        }

        impl IntoId<$id> for &str {
            fn into_id(self) -> Result<$id, IdError> {
                $id::new(self)
            }
        }

        impl IntoId<$id> for String {
            fn into_id(self) -> Result<$id, IdError> {
                $id::new(&self)
            }
        }

        impl IntoId<$id> for &String {
            fn into_id(self) -> Result<$id, IdError> {
                $id::new(self)
            }
        }
    )*};
}
into_id!(TenantId, SubjectId, ClientId, DeviceId, SessionId, LockName, HolderId, Jti);
into_id!(RecordKind, IssuerId);
