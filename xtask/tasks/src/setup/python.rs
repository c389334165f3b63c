//! Python packages for the tests that read the agent's formats with other programs: from PyPI, pinned by their hashes,
//! in a directory of their own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use super::{
    cache::cached,
    pypi::{pip, python},
};
use crate::ui::Step;

/// With the hashes for `x86_64` and aarch64; of wheels for one version of Python, those for 3.11 to 3.14.
const REQUIREMENTS: &str = "\
attrs==26.1.0 \
    --hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309
grpcio==1.85.3 \
    --hash=sha256:f2948333a1f462c0e559b5ea436655ed36822fa448f5713d6de2d483bed6e03f \
    --hash=sha256:885f8c19eb4f472dc9b91bec03ea8b2b135027b4d94c4386501069a7b6e08efa \
    --hash=sha256:8266434d54c3442ebdba71d97e6f688b73dd00194bda6e1e35e57272afbd2d73 \
    --hash=sha256:258c579112434464d24dd5f8f73bf4b220a9c88219bef4d6f56410b5363a0a81 \
    --hash=sha256:9d20015c0dfc91de7a9a037cc84c7a174e8fe62e6427f563f1e2e35ca10f3798 \
    --hash=sha256:399fc184b4d2dd0b014b4b880a5b1ecc99383b610dbb270acb43d1b23e1e8b9c \
    --hash=sha256:d1c3193d7db9dc7786325b6f93c800b5eecb1037daf9b3ca105ef8ffa6607895 \
    --hash=sha256:8147e611f308598a3457e8f77dac9e201a80997bf7189b18e9b7799dab1e75d3
jsonschema==4.26.0 \
    --hash=sha256:d489f15263b8d200f8387e64b4c3a75f06629559fb73deb8fdfb525f2dab50ce
jsonschema-specifications==2025.9.1 \
    --hash=sha256:98802fee3a11ee76ecaca44429fda8a41bff98b00a0f2838151b113f210cc6fe
opentelemetry-proto==1.45.2 \
    --hash=sha256:03a7ca1b43f89fd5b965d5975902bb2515c0c86e2428b456836e9a6149c6235a
perfetto==0.59.1 \
    --hash=sha256:fde529ecdf28042112d452ed431d51b797b4eea1378c10d7d25af5d36db719a3
protobuf==7.36.2 \
    --hash=sha256:89f23aa53c24553a2416fd4fd1ec06f74fa42b14b546d8883128813f775bbfd2 \
    --hash=sha256:e11e1f0180583a2af89db6a2ecd9e8dc40aa6d2988ca175bfd0e6d12ea72d74e
referencing==0.37.0 \
    --hash=sha256:381329a9f99628c9069361716891d34ad94af76e461dcb0335825aecc7692231
rpds-py==2026.9.1 \
    --hash=sha256:e01b3c878c8641913e688edd1b3f08658c6783d29cf6b826bd3c0d1ae7a1ffaa \
    --hash=sha256:136a1c3fe4402b7008bc81cb62ee538481795b61a7e83df88dff3b3f02b726ff \
    --hash=sha256:2693b2728bbcc48d09a981a356954b0c47c53ff25b545856f28a889ea619f69a \
    --hash=sha256:addeda51556dac7c1a2f14cda62db8b621cd12afba3091d03a96c72932387eab \
    --hash=sha256:457866b85daf5034296666168b84a69e0b2e89dc4f1af102b46f6448a60b9063 \
    --hash=sha256:7868b85224291c6cb6759f9b5adb9745f486d226f62b16a614dd5a2a5ab2b35b \
    --hash=sha256:07deecbfce94c78473018bc7d10b337cc651d12df87a1eb2cb3e4024bc9c33d0 \
    --hash=sha256:eac2f5dbafd585dfe31f86a23ebf0d3ba480a9d49ebc87947267b5608d4ea0cd
typing_extensions==4.16.0 \
    --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
";

/// The modules that the tests import.
const TRY: &str = "import google.protobuf, grpc, jsonschema, opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc, \
                   perfetto.protos.perfetto.trace.perfetto_trace_pb2";

const LIMIT: Duration = Duration::from_mins(1);

/// The directory for `PYTHONPATH`, from the cache or filled now.
pub fn packages() -> Result<PathBuf> {
    const TITLE: &str = "Python's packages";
    let tag = "import sys; print(sys.implementation.cache_tag)";
    let step = Step::new("setup", TITLE);
    let tag = step.output("asking for its version", &mut python(&["-c", tag]), LIMIT)?;
    cached(
        TITLE,
        &format!("python-packages-2-{}", tag.trim()),
        "grpcio, jsonschema, opentelemetry-proto, perfetto, protobuf from PyPI",
        "see that PyPI can be reached and that python3 is one of 3.11 to 3.14, and run this again",
        install,
    )
}

fn install(path: &Path, step: &Step) -> Result<()> {
    let target = path.as_os_str();
    let arguments = ["install", "--root-user-action=ignore", "--target"].map(str::as_ref);
    let arguments = [&arguments[..], &[target]].concat();
    pip("downloading (9 MB)", &arguments, REQUIREMENTS, path, step)?;
    let mut imports = python(&["-c", TRY]);
    step.output("trying them", imports.env("PYTHONPATH", path), LIMIT)
        .map(drop)
}
