//! The one trait at the service's border: who carries a call, and what comes back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::failure::CallFailure;
use super::wire::Answer;
use crate::record::Batch;

/// The records of one call: a batch, and which of its records are (still) to be sent.
#[derive(Debug, Clone)]
pub struct Call {
    pub batch: Arc<Batch>,
    /// Places in [`Batch::records`], rising.
    pub chosen: Vec<u16>,
}

/// What a call came to.
pub type CallResult = Result<Answer, CallFailure>;

/// Carries calls to one flow's destination. One try a call: when and whether to try again is the publisher's to decide.
pub trait Sink: Send + Sync + 'static {
    fn put(&self, call: Call) -> Pin<Box<dyn Future<Output = CallResult> + Send + '_>>;
}
