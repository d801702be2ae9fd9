//! From a digest to an ensemble that may serve: found, checked, decoded, asked its golden rows, warmed.

use std::{sync::Arc, time::Duration};

use models::{Coverage, Ensemble, GoldenFault, Model, Scratch, bundle::BundleError};
use proto::{parse::ParseError, v1, v1::bundles_client::BundlesClient};
use runtime::spawn::give_way;
use store::blobs::{BlobError, Blobs};
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::{
    answer::{Asked, Times},
    drag::Drag,
    meter::Meter,
    orders::Wanted,
    pace::Pace,
    served::Served,
};

/// How long the scheduler may take to accept a connection, and then for each part of a bundle.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Samples answered before a revision serves, so that its pages and the branch predictors are warm
/// and a panic in it happens here: its golden rows, again and again; made-up ones where it has none.
const WARM_ROWS: usize = 8;

/// Why a revision is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The bundle is not here, and nobody said where to get it.
    #[error("the bundle is not kept here and no scheduler is known yet")]
    Alone,
    /// The address of the scheduler is none.
    #[error("the scheduler cannot be asked for the bundle")]
    Address(#[source] ParseError),
    /// The scheduler cannot be reached.
    #[error("the scheduler cannot be reached for the bundle")]
    Unreachable(#[source] tonic::transport::Error),
    /// The scheduler does not give it.
    #[error("the scheduler does not give the bundle")]
    Refused(#[source] Box<tonic::Status>),
    /// The scheduler stopped in the middle.
    #[error("the scheduler was silent for {} s while it gave the bundle", SILENCE_MAX.as_secs())]
    Silent,
    /// Longer than a bundle may be, or than it was said to be.
    #[error("the bundle has more than {bytes_max} bytes")]
    TooLong {
        /// How long it may be.
        bytes_max: u64,
    },
    /// Other bytes than were ordered.
    #[error("the scheduler gave other bytes than the digest says")]
    Digest,
    /// It cannot be kept.
    #[error("the bundle cannot be kept")]
    Keep(#[source] BlobError),
    /// It is no bundle.
    #[error("the bundle cannot be decoded")]
    Decode(#[source] BundleError),
    /// The orders ask for what the bundle does not have.
    #[error(
        "the bundle has {members} members and {gate} gate; other members or a gate are ordered"
    )]
    Parts {
        /// How many members it has.
        members: usize,
        /// `a` or `no`.
        gate: &'static str,
    },
    /// The policy names a default answer that is no class of it.
    #[error("the policy's fallback {fallback:?} is no class of the bundle")]
    Fallback {
        /// What it names.
        fallback: String,
    },
    /// The policy promises sets that the bundle does not have for these members.
    #[error(
        "the policy wants sets with a coverage of {}, and the bundle has {most} for these members: train again",
        wanted.share()
    )]
    Sets {
        /// What the policy wants.
        wanted: Coverage,
        /// `none`, or the most there is.
        most: String,
    },
    /// It answers otherwise than where it was trained.
    #[error("the bundle does not answer its golden rows as it did where it was trained")]
    Golden(#[source] GoldenFault),
    /// It does not answer.
    #[error("the bundle does not answer a sample of its own shape")]
    Mute(#[source] models::ShapeError),
    /// A panic, or the end of the process.
    #[error("loading did not come to an end")]
    Broken,
}

/// Where bundles come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) blobs: Arc<Blobs>,
    /// Empty: only the disk.
    pub(crate) scheduler: String,
    pub(crate) haste: Haste,
}

/// What is in memory already.
#[derive(Clone, Debug, Default)]
pub(crate) struct InMemory {
    /// The same bundle, of which other members may be wanted.
    pub(crate) same: Option<Arc<Served>>,
    /// What the task serves until then. A revision that has a member more, or other weights, has the other
    /// members of the one before: those are not kept twice.
    pub(crate) before: Option<Arc<Served>>,
}

impl InMemory {
    /// The least that a member with these very arrays was seen to take, in microseconds.
    fn micros(&self, model: &Arc<Model>) -> f64 {
        let served = self.same.iter().chain(&self.before);
        let members = served.flat_map(|it| it.ensemble.members().iter().zip(&it.micros));
        let known = members.filter(|(it, _)| Arc::ptr_eq(&it.member.model, model));
        known.map(|(_, &micros)| micros).fold(f64::INFINITY, f64::min)
    }
}

/// Whom a load makes way for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Nobody: a task waits for its answers.
    Now,
    /// All who answer.
    Behind,
}

/// Finds, checks, decodes, tries and warms what is wanted.
///
/// # Errors
///
/// [`LoadError`], one variant for each way of going wrong.
pub(crate) async fn load(
    source: Source,
    wanted: Wanted,
    in_memory: InMemory,
    meter: Arc<Meter>,
) -> Result<Served, LoadError> {
    let bytes = match &in_memory.same {
        Some(_) => Arc::default(),
        None => find(&source, wanted.digest).await?,
    };
    let decode = move |in_memory: &InMemory| match &in_memory.same {
        Some(same) => Ok(Arc::clone(&same.ensemble)),
        // Whoever found them has compared them with their name.
        None => {
            let decoded = models::bundle::decode_named(&bytes, &give_way);
            let decoded = decoded.map_err(LoadError::Decode)?;
            Ok(Arc::new(match &in_memory.before {
                Some(before) => decoded.sharing(&before.ensemble, &give_way),
                None => decoded,
            }))
        }
    };
    let load = move || warm(wanted.clone(), decode(&in_memory)?, &in_memory, Arc::clone(&meter));
    blocking(source.haste, load).await
}

/// Also decoding and warming are long work: never on the threads that answer.
async fn blocking<T: Send + 'static>(
    haste: Haste,
    work: impl Fn() -> Result<T, LoadError> + Send + Sync + 'static,
) -> Result<T, LoadError> {
    let ended = match haste {
        Haste::Now => tokio::task::spawn_blocking(work).await.ok(),
        Haste::Behind => runtime::spawn::behind("load", work).await,
    };
    ended.ok_or(LoadError::Broken)?
}

/// The bytes of `digest`, from the disk or else from the scheduler.
async fn find(source: &Source, digest: [u8; 32]) -> Result<Arc<Vec<u8>>, LoadError> {
    let blobs = Arc::clone(&source.blobs);
    let kept = blocking(source.haste, move || match blobs.get(&digest) {
        Ok(bytes) => Ok(Some(Arc::new(bytes))),
        Err(BlobError::NotFound { .. }) => Ok(None),
        Err(error @ BlobError::Damaged { .. }) => {
            tracing::warn!(error = %runtime::Report(&error), "a kept bundle is fetched again");
            Ok(None)
        }
        Err(error @ (BlobError::Full { .. } | BlobError::Disk { .. })) => {
            Err(LoadError::Keep(error))
        }
    });
    if let Some(bytes) = kept.await? {
        return Ok(bytes);
    }
    let bytes = fetch(&source.scheduler, source.haste, digest).await?;
    let (blobs, kept) = (Arc::clone(&source.blobs), Arc::clone(&bytes));
    // `fetch` has checked the digest, and it is checked again whenever the blob is read.
    blocking(source.haste, move || blobs.put(&kept).map_err(LoadError::Keep)).await?;
    Ok(bytes)
}

/// The bytes of `digest` from the scheduler, bounded and checked.
async fn fetch(scheduler: &str, haste: Haste, digest: [u8; 32]) -> Result<Arc<Vec<u8>>, LoadError> {
    if scheduler.is_empty() {
        return Err(LoadError::Alone);
    }
    let endpoint = proto::parse::endpoint(scheduler).map_err(LoadError::Address)?;
    let endpoint = Endpoint::from_shared(endpoint).map_err(LoadError::Unreachable)?;
    let channel = endpoint
        .connect_timeout(SILENCE_MAX)
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(LoadError::Unreachable)?;
    let mut client =
        BundlesClient::new(channel).max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
    let request = v1::GetBundleRequest { digest: digest.to_vec().into() };
    let refused = |status| LoadError::Refused(Box::new(status));
    let answer = timeout(SILENCE_MAX, client.get_bundle(request)).await;
    let mut chunks = answer.map_err(|_| LoadError::Silent)?.map_err(refused)?.into_inner();

    let mut bytes = Vec::new();
    let mut bytes_max = proto::BUNDLE_BYTES_MAX;
    while let Some(chunk) = timeout(SILENCE_MAX, chunks.message())
        .await
        .map_err(|_| LoadError::Silent)?
        .map_err(refused)?
    {
        if bytes.is_empty() && chunk.length != 0 {
            bytes_max = bytes_max.min(chunk.length);
        }
        let length = u64::try_from(bytes.len() + chunk.data.len()).unwrap_or(u64::MAX);
        if bytes_max < length {
            return Err(LoadError::TooLong { bytes_max });
        }
        bytes.extend_from_slice(&chunk.data);
    }
    let bytes = Arc::new(bytes);
    let same = Arc::clone(&bytes);
    let same = blocking(haste, move || Ok(store::blobs::digest(&same) == digest)).await?;
    if same { Ok(bytes) } else { Err(LoadError::Digest) }
}

/// Checks the orders against the bundle, then its golden rows against what it says here. And answers
/// a few samples: by each member alone, to see who decides most for its time on this device, and then
/// as they will be answered.
fn warm(
    wanted: Wanted,
    ensemble: Arc<Ensemble>,
    in_memory: &InMemory,
    meter: Arc<Meter>,
) -> Result<Served, LoadError> {
    let members = ensemble.members().len();
    let gate = ensemble.gate().is_some();
    let parts = || LoadError::Parts { members, gate: if gate { "a" } else { "no" } };
    let all = ensemble.asking(wanted.subset).map_err(|_| parts())?;
    if wanted.gated && !gate {
        return Err(parts());
    }
    let mut scratch = ensemble.scratch();
    try_golden(&wanted, &ensemble, &mut scratch)?;
    let plain = plain_rows(&ensemble);
    let rows = || {
        let golden = ensemble.golden().iter().map(|it| it.row.as_slice());
        let plain = plain.iter().map(Vec::as_slice);
        golden.chain(plain).cycle().take(WARM_ROWS)
    };
    // Beside others that answer a member seems to take longer than it does, the more memory it reads the more, and
    // would be asked later: what the same arrays took before is known, too.
    let known = ensemble.members().iter().map(|it| in_memory.micros(&it.member.model));
    let mut micros: Vec<f64> = known.collect();
    for member in all.members() {
        let alone = ensemble.asking_in_order(&[member]).map_err(|_| parts())?;
        for row in rows() {
            let begun = Instant::now();
            let answer = ensemble.answer_timed(row, &alone, false, &mut scratch, |_| ());
            answer.map_err(LoadError::Mute)?;
            // The least is what it takes when nothing else gets in the way.
            micros[member] = micros[member].min(begun.elapsed().as_secs_f64() * 1e6);
            give_way();
        }
    }
    let asking = ensemble.asking_on(wanted.subset, |it| micros[it]).map_err(|_| parts())?;
    let order: Vec<usize> = asking.members().collect();
    tracing::debug!(task.id = wanted.task, ?order, "members are asked in this order");
    let fallback = match &*wanted.fallback {
        "" => None,
        fallback => Some(
            ensemble
                .schema()
                .class(fallback)
                .ok_or_else(|| LoadError::Fallback { fallback: fallback.to_owned() })?,
        ),
    };
    let coverage = Coverage::of_thousandths(wanted.coverage_thousandths);
    let served = Served {
        task: Arc::from(&*wanted.task),
        members: wanted.subset.len(),
        wanted,
        ensemble: Arc::clone(&ensemble),
        micros,
        asking_all: asking.clone().to_the_end(),
        asking,
        level: None,
        fallback,
        pace: Pace::new(Duration::ZERO),
        drag: Drag::default(),
        meter,
    };
    let served = match coverage {
        None => served,
        Some(wanted) => {
            let most = served.most_promised();
            let most = most.map_or("none".to_owned(), |it| format!("at most {}", it.share()));
            let level = served.promised(wanted);
            let level = Some(level.ok_or(LoadError::Sets { wanted, most })?);
            Served { level, ..served }
        }
    };
    let mut times = Vec::with_capacity(WARM_ROWS);
    for row in rows() {
        let begun = Instant::now();
        let terms = Asked { begun, stop: None, level: served.level };
        let asked = crate::answer::ask(&served, row, &mut scratch, terms, None);
        let (_, Times { ended, .. }) = asked.map_err(LoadError::Mute)?;
        times.push(ended.duration_since(begun));
        give_way();
    }
    times.sort_unstable();
    let usual = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(Served { pace: Pace::new(usual), ..served })
}

/// Asks the golden rows of a bundle, which have their answers beside them.
fn try_golden(
    wanted: &Wanted,
    ensemble: &Ensemble,
    scratch: &mut Scratch,
) -> Result<(), LoadError> {
    let begun = Instant::now();
    for row in 0..ensemble.golden().len() {
        ensemble.check_golden_row(row, scratch).map_err(LoadError::Golden)?;
        give_way();
    }
    tracing::debug!(
        task.id = wanted.task,
        revision = wanted.revision,
        rows = ensemble.golden().len(),
        took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        "golden rows are answered as they were"
    );
    Ok(())
}

/// A few samples of plain values, for a bundle without golden rows.
fn plain_rows(ensemble: &Ensemble) -> Vec<Vec<f32>> {
    if !ensemble.golden().is_empty() {
        return Vec::new();
    }
    let width = ensemble.schema().width();
    let mut next = 1_u32;
    let mut value = || {
        // A linear congruence (Numerical Recipes): any spread of plain values will do.
        next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(i16::try_from(next >> 17).unwrap_or(0)) / 8192.0 - 2.0
    };
    let mut rows = vec![vec![0.0; width]];
    rows.extend((1..WARM_ROWS).map(|_| (0..width).map(|_| value()).collect()));
    rows
}

#[cfg(test)]
mod tests {
    use models::{
        Family, Subset, bundle,
        synthetic::{self, Shape},
    };

    use super::*;

    /// A lazy training ships a member more each time: the others were there already.
    #[tokio::test]
    async fn a_revision_does_not_keep_a_second_copy_of_members_that_the_one_before_has() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open(folder.path(), proto::BUNDLE_BYTES_MAX).unwrap());
        let next = synthetic::ensemble(&[Family::Ridge, Family::Knn], Shape::SMALL, false, 5);
        let mut parts = next.clone().into_parts();
        parts.members.truncate(1);
        let first = Ensemble::new(parts).unwrap();
        let source = Source { blobs, scheduler: String::new(), haste: Haste::Behind };
        let mut before = None;
        for (revision, ensemble) in [(1, &first), (2, &next)] {
            let bytes = bundle::encode(ensemble);
            source.blobs.put(&bytes).unwrap();
            let wanted = Wanted {
                task: "task".to_owned(),
                generation: revision,
                revision,
                digest: bundle::digest(&bytes),
                subset: Subset::all(ensemble.members().len()),
                gated: false,
                fallback: String::new(),
                coverage_thousandths: 0,
                abstain_below_thousandths: 0,
                input: String::new(),
            };
            let in_memory = InMemory { same: None, before: before.clone() };
            let served = load(source.clone(), wanted, in_memory, Arc::default()).await;
            let mut served = served.unwrap();
            if revision == 1 {
                // Nothing that is measured takes less.
                served.micros[0] = 0.0;
            }
            let served = Arc::new(served);
            assert_eq!(*served.ensemble, *ensemble);
            if let Some(before) = before.replace(Arc::clone(&served)) {
                let [old, new] =
                    [&before.ensemble, &served.ensemble].map(|it| &it.members()[0].member);
                assert!(Arc::ptr_eq(&old.model, &new.model));
                assert_eq!(served.micros[0], 0.0, "what was seen once is not forgotten");
                assert!(0.0 < served.micros[1], "who is new is measured");
            }
        }
    }
}
