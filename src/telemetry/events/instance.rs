//! Events of what the host knows of itself where it is an EC2 instance, for `ADDEC2METADATA`.

use tracing::Level;

use crate::telemetry::log::Entry;
use crate::telemetry::names;

/// Metadata is there, for the first time or again. INFO.
pub fn instance_metadata_available(instance_id: &str) {
    let message =
        format!("ADDEC2METADATA: metadata and tags of the instance {instance_id} are there");
    Entry::new(Level::INFO, names::THREAD_MAIN, names::AWS, message).emit();
}

/// Metadata can't be had. WARN: records go without it, or with that of before.
pub fn instance_metadata_unavailable(error: &dyn std::fmt::Display) {
    let message = format!(
        "ADDEC2METADATA: no answer from the instance metadata service: {error}; records are sent with what was known \
         before, or without metadata; it is asked again at most 60 s apart; on EC2 see that the metadata service is \
         enabled, in a container that its hop limit is 2, elsewhere remove ADDEC2METADATA"
    );
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AWS, message).emit();
}

/// Metadata may not be asked for. WARN: records go without it.
pub fn instance_metadata_disabled() {
    let message = "ADDEC2METADATA: AWS_EC2_METADATA_DISABLED is true, so records are sent without metadata; unset it \
                   or remove ADDEC2METADATA";
    Entry::new(
        Level::WARN,
        names::THREAD_MAIN,
        names::AWS,
        message.to_owned(),
    )
    .emit();
}

/// The instance's tags can't be had. WARN: records go with the other metadata.
pub fn instance_tags_unavailable(error: &dyn std::fmt::Display) {
    let message = format!(
        "ADDEC2METADATA: no tags of the instance: {error}; records are sent with the other metadata, and the tags \
         known before if any; they are asked for again; allow ec2:DescribeTags, or turn on tags in the instance \
         metadata"
    );
    Entry::new(Level::WARN, names::THREAD_MAIN, names::AWS, message).emit();
}
