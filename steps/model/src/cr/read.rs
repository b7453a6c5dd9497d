//! From text to clusters: parse, sort out what is not ours, group by cluster id, insist on what every cluster has.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    CrError, INPUT_LIMIT, NodePool, VintageCluster, findings, keys,
    types::{AwsClusterSpec, AwsClusterStatus, Metadata, Nothing, Resource},
    yaml::{self, Located, Place},
};

/// Kinds of which one cluster has exactly one, with the resource name that `kubectl` wants.
const CLUSTER: &str = "Cluster";
const AWS_CLUSTER: &str = "AWSCluster";
const CONTROL_PLANE: &str = "G8sControlPlane";
const AWS_CONTROL_PLANE: &str = "AWSControlPlane";
const MACHINE_DEPLOYMENT: &str = "MachineDeployment";
const AWS_MACHINE_DEPLOYMENT: &str = "AWSMachineDeployment";

impl VintageCluster {
    /// Reads the clusters in `files` (name and text each), as `kubectl get … -o yaml` prints them: several documents,
    /// lists, one or many clusters, in any order. Ordered by id.
    ///
    /// # Errors
    /// The first thing that makes the input unusable, with its place and what to do.
    pub fn read(files: &[(&str, &str)]) -> Result<Vec<Self>, CrError> {
        let mut size = 0;
        let mut objects = Vec::new();
        for (name, text) in files {
            size += text.len();
            if size > INPUT_LIMIT {
                return Err(CrError::TooLarge {
                    place: Place::start_of(name),
                    size,
                    limit: INPUT_LIMIT,
                });
            }
            let found = yaml::objects(name, text).map_err(|syntax| CrError::Syntax {
                place: syntax.place,
                message: syntax.message,
            })?;
            if found.is_empty() {
                return Err(CrError::Empty {
                    place: Place::start_of(name),
                });
            }
            objects.extend(found);
        }
        if files.is_empty() {
            return Err(CrError::Empty {
                place: Place::start_of("input"),
            });
        }
        assemble(objects)
    }

    /// As [`VintageCluster::read`], from objects that an API answered with; `source` names it in errors.
    ///
    /// # Errors
    /// As [`VintageCluster::read`], without lines.
    pub fn from_objects(source: &str, objects: Vec<Value>) -> Result<Vec<Self>, CrError> {
        let place = Place {
            file: source.into(),
            line: 0,
            column: 0,
        };
        assemble(
            objects
                .into_iter()
                .map(|value| Located {
                    place: place.clone(),
                    value,
                })
                .collect(),
        )
    }
}

/// One object with what grouping needs.
struct Object {
    place: Place,
    group: String,
    kind: String,
    metadata: Metadata,
    value: Value,
}

impl Object {
    fn new(located: Located) -> Result<Self, CrError> {
        let Located { place, value } = located;
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let kind = text("kind");
        if kind.is_empty() {
            return Err(CrError::NotAnObject { place });
        }
        let api_version = text("apiVersion");
        let group = api_version
            .rsplit_once('/')
            .map_or("", |(group, _)| group)
            .to_owned();
        let metadata = serde_json::from_value::<Resource<Nothing>>(only_metadata(&value)).map_err(
            |error| CrError::Shape {
                place: place.clone(),
                what: kind.clone(),
                message: error.to_string(),
            },
        )?;
        Ok(Self {
            place,
            group,
            kind,
            metadata: metadata.metadata,
            value,
        })
    }

    fn what(&self) -> String {
        let Metadata {
            namespace, name, ..
        } = &self.metadata;
        if namespace.is_empty() {
            format!("{} {name}", self.kind)
        } else {
            format!("{} {namespace}/{name}", self.kind)
        }
    }

    fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    fn is_cluster(&self) -> bool {
        self.is(keys::CAPI_GROUP, CLUSTER) || self.is(keys::VINTAGE_GROUP, AWS_CLUSTER)
    }

    /// Kinds that are nothing without their cluster.
    fn is_part(&self) -> bool {
        (self.group == keys::VINTAGE_GROUP && self.kind != "NetworkPool")
            || self.is(keys::CAPI_GROUP, MACHINE_DEPLOYMENT)
    }

    fn cluster_id(&self) -> Option<String> {
        if self.is_cluster() {
            return Some(self.metadata.name.clone());
        }
        let label = |key: &str| self.metadata.labels.get(key).cloned();
        label(keys::CLUSTER)
            .or_else(|| label(keys::CLUSTER_NAME))
            .or_else(|| Some(self.value["spec"]["clusterName"].as_str()?.to_owned()))
            .or_else(|| Some(self.value["spec"]["cert"]["clusterID"].as_str()?.to_owned()))
            .filter(|id| !id.is_empty())
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, CrError> {
        serde_json::from_value(self.value.clone()).map_err(|error| CrError::Shape {
            place: self.place.clone(),
            what: self.what(),
            message: error.to_string(),
        })
    }

    /// What this is, when it belongs to a provider that is not migrated.
    fn foreign_provider(&self) -> Option<String> {
        let foreign_group =
            self.group == keys::CAPI_INFRASTRUCTURE_GROUP || self.group == "provider.giantswarm.io";
        if foreign_group {
            return Some(format!("{} ({})", self.what(), self.group));
        }
        if self.is(keys::CAPI_GROUP, CLUSTER) {
            let reference = &self.value["spec"]["infrastructureRef"];
            let kind = reference["kind"].as_str().unwrap_or(AWS_CLUSTER);
            let group = reference["apiVersion"]
                .as_str()
                .or_else(|| reference["apiGroup"].as_str())
                .map_or(keys::VINTAGE_GROUP, |api| {
                    api.split_once('/').map_or(api, |(group, _)| group)
                });
            if kind != AWS_CLUSTER || group != keys::VINTAGE_GROUP {
                return Some(format!("{} of the provider {kind} ({group})", self.what()));
            }
        }
        None
    }
}

fn only_metadata(value: &Value) -> Value {
    serde_json::json!({ "metadata": value["metadata"] })
}

fn assemble(located: Vec<Located>) -> Result<Vec<VintageCluster>, CrError> {
    let first_place = located
        .first()
        .map_or_else(Place::default, |first| first.place.clone());
    let mut groups: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    let mut shared = Vec::new();
    let mut kinds = BTreeSet::new();
    let mut seen: BTreeMap<(String, String), (Place, Value)> = BTreeMap::new();
    for object in located {
        let object = Object::new(object)?;
        if let Some(what) = object.foreign_provider() {
            return Err(CrError::OtherProvider {
                place: object.place,
                what,
            });
        }
        match seen.get(&(object.group.clone(), object.what())) {
            Some((_, value)) if *value == object.value => continue,
            Some((first, _)) => {
                return Err(CrError::Differs {
                    what: object.what(),
                    first: first.clone(),
                    place: object.place,
                });
            }
            None => {
                seen.insert(
                    (object.group.clone(), object.what()),
                    (object.place.clone(), object.value.clone()),
                );
            }
        }
        kinds.insert(object.kind.clone());
        match object.cluster_id() {
            Some(id) => groups.entry(id).or_default().push(object),
            None => shared.push(object),
        }
    }
    let mut clusters = Vec::new();
    for (id, objects) in groups {
        // Apps or secrets of a cluster whose own objects are elsewhere are not an error, only not a cluster.
        if objects.iter().any(|o| o.is_cluster() || o.is_part()) {
            clusters.push(one(&id, &objects, &shared)?);
        }
    }
    if clusters.is_empty() {
        return Err(CrError::NoCluster {
            place: first_place,
            found: kinds.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    Ok(clusters)
}

fn one(id: &str, objects: &[Object], shared: &[Object]) -> Result<VintageCluster, CrError> {
    let place = objects[0].place.clone();
    check_id(id, &place)?;
    let cluster = single(id, objects, keys::CAPI_GROUP, CLUSTER)?;
    let aws_cluster = single(id, objects, keys::VINTAGE_GROUP, AWS_CLUSTER)?;
    let control_plane = single(id, objects, keys::VINTAGE_GROUP, CONTROL_PLANE)?;
    let aws_control_plane = single(id, objects, keys::VINTAGE_GROUP, AWS_CONTROL_PLANE)?;

    let aws: Resource<AwsClusterSpec, AwsClusterStatus> = aws_cluster.parse()?;
    let mut read = VintageCluster {
        id: id.to_owned(),
        namespace: cluster.metadata.namespace.clone(),
        region: String::new(),
        cluster: cluster.parse()?,
        control_plane: control_plane.parse()?,
        aws_control_plane: aws_control_plane.parse()?,
        pools: pools(objects)?,
        network_pool: None,
        cert_configs: every(objects, "core.giantswarm.io", "CertConfig")?,
        apps: every(objects, "application.giantswarm.io", "App")?,
        findings: Vec::new(),
        raw: objects.iter().map(|object| object.value.clone()).collect(),
        aws_cluster: aws,
    };
    let replicas = read.replicas();
    if replicas != 1 && replicas != 3 {
        return Err(CrError::Replicas {
            place: control_plane.place.clone(),
            name: control_plane.metadata.name.clone(),
            replicas,
        });
    }
    adopt_shared(&mut read, shared)?;
    read.region = region_of(&read).ok_or_else(|| CrError::NoRegion {
        place: aws_cluster.place.clone(),
        cluster: id.to_owned(),
    })?;
    read.findings = findings::of(&read);
    Ok(read)
}

fn check_id(id: &str, place: &Place) -> Result<(), CrError> {
    let valid = id.len() <= 20
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if valid {
        Ok(())
    } else {
        Err(CrError::BadId {
            place: place.clone(),
            id: id.to_owned(),
        })
    }
}

fn single<'o>(
    id: &str,
    objects: &'o [Object],
    group: &str,
    kind: &'static str,
) -> Result<&'o Object, CrError> {
    let mut found = objects.iter().filter(|object| object.is(group, kind));
    let first = found.next().ok_or_else(|| CrError::Missing {
        place: objects[0].place.clone(),
        cluster: id.to_owned(),
        kind,
        hint: format!(
            "add what `kubectl get {}.{group} -A -l {}={id} -o yaml` prints",
            plural(kind),
            keys::CLUSTER
        ),
    })?;
    match found.next() {
        None => Ok(first),
        Some(second) => Err(CrError::Second {
            place: second.place.clone(),
            cluster: id.to_owned(),
            kind,
            name: second.metadata.name.clone(),
            first: first.place.clone(),
        }),
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_ascii_lowercase())
}

fn every<S>(objects: &[Object], group: &str, kind: &str) -> Result<Vec<Resource<S>>, CrError>
where
    S: DeserializeOwned + Default,
{
    objects
        .iter()
        .filter(|object| object.is(group, kind))
        .map(Object::parse)
        .collect()
}

fn pools(objects: &[Object]) -> Result<Vec<NodePool>, CrError> {
    let with_core: BTreeSet<&str> = objects
        .iter()
        .filter(|object| object.is(keys::CAPI_GROUP, MACHINE_DEPLOYMENT))
        .map(|object| object.metadata.name.as_str())
        .collect();
    let mut pools = objects
        .iter()
        .filter(|object| object.is(keys::VINTAGE_GROUP, AWS_MACHINE_DEPLOYMENT))
        .map(|object| {
            Ok(NodePool {
                id: object.metadata.name.clone(),
                has_machine_deployment: with_core.contains(object.metadata.name.as_str()),
                aws: object.parse()?,
            })
        })
        .collect::<Result<Vec<_>, CrError>>()?;
    pools.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(pools)
}

/// Objects without a cluster label that the cluster names: its network pool, its credential secret.
fn adopt_shared(read: &mut VintageCluster, shared: &[Object]) -> Result<(), CrError> {
    let provider = &read.aws_cluster.spec.provider;
    let pool_name = provider.nodes.network_pool.clone();
    let secret = provider.credential_secret.clone();
    for object in shared {
        let meta = &object.metadata;
        if object.is(keys::VINTAGE_GROUP, "NetworkPool") && meta.name == pool_name {
            read.network_pool = Some(object.parse()?);
            read.raw.push(object.value.clone());
        } else if object.is("", "Secret")
            && meta.name == secret.name
            && meta.namespace == secret.namespace
        {
            read.raw.push(object.value.clone());
        }
    }
    Ok(())
}

fn region_of(read: &VintageCluster) -> Option<String> {
    let provider = &read.aws_cluster.spec.provider;
    if !provider.region.is_empty() {
        return Some(provider.region.clone());
    }
    read.aws_control_plane
        .spec
        .availability_zones
        .iter()
        .chain([&provider.master.availability_zone])
        .chain(
            read.pools
                .iter()
                .flat_map(|pool| &pool.aws.spec.provider.availability_zones),
        )
        .find_map(|zone| {
            let region = zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
            region
                .ends_with(|c: char| c.is_ascii_digit())
                .then(|| region.to_owned())
        })
}
