//! What a replay would do, told before it does.

use tharsis_admin::preview::{ASKED, Preview};

use crate::{
    commands::documents::PreviewDocument,
    output::{
        Failure, Output,
        text::{count, inert},
    },
};

pub(super) fn tell(output: Output, preview: &Preview) -> Result<(), Failure> {
    if output.json {
        return output.document(&PreviewDocument::from(preview));
    }
    output.line(preview.answer())?;
    if preview.subscriptions.len() > 1 {
        for share in preview.subscriptions.iter().take(ASKED) {
            output.line(format_args!(
                "  {}  {}  {}",
                share.id,
                count(share.count),
                inert(&share.name)
            ))?;
        }
        let more = preview.subscriptions.len().saturating_sub(ASKED);
        if more > 0 {
            output.line(format_args!("  and {more} more subscriptions"))?;
        }
    }
    if !preview.sample.is_empty() {
        output.line("Some of them:")?;
        for id in &preview.sample {
            output.line(format_args!("  {id}"))?;
        }
    }
    Ok(())
}
