//! `checks.watch_routes/1`: the route tables of the cluster's VPC stay as they are, looked at every two minutes for a day.
//!
//! * Effect: none.
//! * Idempotency: the tables as they were at the beginning, and until when they are watched, are in the checkpoint: a later attempt
//!   goes on with both.
//! * Compensation: nothing to take back.
//!
//! Customers add routes by hand, and controllers that take a VPC for their own remove what they do not know, at once or at
//! their next resync. A route that goes is lost traffic, so it ends the watch; a route that comes or leads elsewhere is told at
//! the end. A subnet that is given another table keeps what its old table led to, or that is a route gone as well. Subnets that
//! have no table of their own are not followed: no cluster with such a one is migrated.

use std::{collections::BTreeMap, time::Duration};

use drover_model::cr::keys;
use drover_ports::{Ports, RouteTable};
use drover_step_api::{
    CHECKPOINT_BYTES_MAX, Certainty, Class, Compensation, Context, Declaration, LossPolicy,
    Observed, Reach, Role, Step, StepError, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{RETRY, timeouts},
    kinds,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct WatchRoutes;

/// Parameters of `checks.watch_routes/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// For so long, in minutes; a week at most.
    #[serde(default = "a_day")]
    pub minutes: u64,
}

const fn a_day() -> u64 {
    24 * 60
}

/// An attempt lives for a week and some hours.
const A_WEEK: u64 = 7 * 24 * 60;

/// Output of `checks.watch_routes/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The VPC.
    pub vpc: String,
    /// Route tables that were there at the beginning.
    pub tables: u64,
    /// Their routes.
    pub routes: u64,
    /// Looks that were taken; those of an attempt that was lost may be missing.
    pub looks: u64,
    /// What is not as it was at the beginning, a sentence each.
    pub differed: Vec<String>,
}

/// From one look to the next.
const BETWEEN: Duration = Duration::from_secs(120);
/// What a route is replaced by comes within seconds: only what is still missing then is gone.
const CONFIRM: Duration = Duration::from_secs(30);
/// Looks after which their count is put down: once an hour.
const COUNTED: u64 = 30;
/// Looks in a row that may fail.
const BLIND_MAX: u32 = 15;

impl Step<Ports> for WatchRoutes {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "checks.watch_routes",
        version: 1,
        summary: "watches the VPC's route tables for routes that vanish or change",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::CapiMc, Reach::Aws],
        effects: &[],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::RaceOk,
        timeouts: timeouts(A_WEEK + 6 * 60),
        retry: RETRY,
        permissions: &["capi-mc:list:AWSCluster", "ec2:DescribeRouteTables"],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        if params.minutes > A_WEEK {
            return Err(StepError::refused(
                "watch-too-long",
                format!(
                    "{} minutes are more than a week; watch for a week at most, and again then",
                    params.minutes
                ),
            ));
        }
        vpc(ctx, params).await.map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let vpc = vpc(ctx, params).await?;
        let mut watch = begin(ctx, params, &vpc).await?;
        let mut blind = 0;
        let differed = loop {
            let found = match watch.look(ctx, params, &vpc).await {
                Ok(found) => {
                    blind = 0;
                    watch.looks += 1;
                    if watch.looks.is_multiple_of(COUNTED) {
                        ctx.checkpoint(&watch).await?;
                    }
                    watch.tell(ctx, &found);
                    Some(found)
                }
                Err(error) if error.certainty() == Certainty::Transient && blind < BLIND_MAX => {
                    blind += 1;
                    ctx.progress(0, 0, format!("the routes could not be read: {error}"));
                    None
                }
                Err(error) => return Err(error),
            };
            let left = watch.until.since(ctx.now());
            match found {
                // Whoever comes late has looked once at least.
                Some(differed) if left.is_zero() => break differed,
                None if left.is_zero() => ctx.sleep(CONFIRM).await?,
                _ => ctx.sleep(BETWEEN.min(left)).await?,
            }
        };
        Ok(Output {
            tables: watch.tables.len() as u64,
            routes: watch
                .tables
                .values()
                .map(|table| table.1.len() as u64)
                .sum(),
            vpc,
            looks: watch.looks,
            differed,
        })
    }

    async fn observe(&self, _: &Context<Ports>, _: &Params) -> Result<Observed<Output>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// The VPC that the cluster lives in.
async fn vpc(ctx: &Context<Ports>, params: &Params) -> Result<String, StepError> {
    let labels = [(keys::CLUSTER_NAME, params.cluster.as_str())];
    let capi = ctx.ports().capi_mc();
    let found = capi.list(&kinds::capa_cluster(), "", &labels).await?;
    let Some(object) = found.first() else {
        return Err(StepError::gone(format!(
            "there is no AWSCluster of {}",
            params.cluster
        )));
    };
    let id = object["spec"]["network"]["vpc"]["id"].as_str();
    id.map(str::to_owned).ok_or_else(|| {
        StepError::refused(
            "vpc-unknown",
            format!("AWSCluster {} names no VPC", params.cluster),
        )
    })
}

/// Subnets and routes of a table; a route is a place in [`Watch::routes`].
type Recorded = (Vec<String>, Vec<usize>);

/// What is watched, until when, and how far that is. Many tables have the same routes, and a checkpoint is small, so each
/// route is written down once.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Watch {
    until: Timestamp,
    looks: u64,
    /// Destination and target.
    routes: Vec<(String, String)>,
    tables: BTreeMap<String, Recorded>,
}

/// As an earlier attempt began, or now.
async fn begin(ctx: &Context<Ports>, params: &Params, vpc: &str) -> Result<Watch, StepError> {
    if let Some(watch) = ctx.restored::<Watch>() {
        return Ok(watch);
    }
    let cloud = ctx.ports().cloud(&params.cluster);
    let until = ctx.now().after(Duration::from_secs(params.minutes * 60));
    let watch = Watch::of(&cloud.describe_route_tables(vpc).await?, until);
    let bytes = serde_json::to_vec(&watch).map_or(usize::MAX, |text| text.len());
    // Its count grows by some digits.
    if bytes + 16 > CHECKPOINT_BYTES_MAX {
        return Err(StepError::refused(
            "too-many-routes",
            format!(
                "{vpc} has {} route tables with {} different routes, more than can be kept between two attempts; watch them by other means and skip this step",
                watch.tables.len(),
                watch.routes.len()
            ),
        ));
    }
    ctx.checkpoint(&watch).await?;
    Ok(watch)
}

/// What is not as it was.
#[derive(Default)]
struct Differences {
    /// Routes that are gone.
    vanished: Vec<String>,
    /// All else.
    changed: Vec<String>,
}

impl Watch {
    fn of(tables: &[RouteTable], until: Timestamp) -> Self {
        let mut watch = Self {
            until,
            looks: 0,
            routes: Vec::new(),
            tables: BTreeMap::new(),
        };
        for table in tables {
            let mut places = Vec::new();
            for route in &table.routes {
                let route = (route.destination.clone(), route.target.clone());
                let known = watch.routes.iter().position(|known| *known == route);
                let place = known.unwrap_or_else(|| {
                    watch.routes.push(route);
                    watch.routes.len() - 1
                });
                places.push(place);
            }
            let recorded = (table.subnets.clone(), places);
            watch.tables.insert(table.id.clone(), recorded);
        }
        watch
    }

    fn routes_of<'w>(&'w self, table: &'w Recorded) -> impl Iterator<Item = &'w (String, String)> {
        let places = table.1.iter();
        places.filter_map(|place| self.routes.get(*place))
    }

    /// What has changed so far.
    ///
    /// # Errors
    /// `Failed` when a route is gone and stays gone; as the port.
    async fn look(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
        vpc: &str,
    ) -> Result<Vec<String>, StepError> {
        let cloud = ctx.ports().cloud(&params.cluster);
        let found = self.differences(&cloud.describe_route_tables(vpc).await?);
        if found.vanished.is_empty() {
            return Ok(found.changed);
        }
        ctx.progress(
            0,
            0,
            format!("looking again: {}", found.vanished.join("; ")),
        );
        ctx.sleep(CONFIRM).await?;
        let again = self.differences(&cloud.describe_route_tables(vpc).await?);
        if again.vanished.is_empty() {
            return Ok(again.changed);
        }
        Err(StepError::failed(
            "route-vanished",
            format!(
                "{}; put it back, then retry this step, which goes on watching; or skip it if the route was meant to go",
                again.vanished.join("; ")
            ),
        ))
    }

    fn differences(&self, tables: &[RouteTable]) -> Differences {
        let mut found = Differences::default();
        for (id, recorded) in &self.tables {
            match tables.iter().find(|table| table.id == *id) {
                Some(table) => self.compare(recorded, table, "", &mut found),
                None => found.vanished.push(format!("route table {id} is gone")),
            }
            for subnet in &recorded.0 {
                self.follow(id, recorded, subnet, tables, &mut found);
            }
        }
        let new = tables
            .iter()
            .filter(|table| !self.tables.contains_key(&table.id));
        found
            .changed
            .extend(new.map(|table| format!("route table {} is new", table.id)));
        found
    }

    /// A subnet that has another table now.
    fn follow(
        &self,
        id: &str,
        recorded: &Recorded,
        subnet: &String,
        tables: &[RouteTable],
        found: &mut Differences,
    ) {
        let own = tables.iter().find(|table| table.subnets.contains(subnet));
        // Without one of its own it has the main one.
        let now = own.or_else(|| tables.iter().find(|table| table.main));
        if let Some(table) = now.filter(|table| table.id != id) {
            let moved = format!("{subnet} has the table {} instead of {id}", table.id);
            found.changed.push(moved);
            self.compare(recorded, table, &format!(" of {subnet}"), found);
        }
    }

    fn compare(&self, recorded: &Recorded, table: &RouteTable, of: &str, found: &mut Differences) {
        for (destination, target) in self.routes_of(recorded) {
            let mut now = table.routes.iter();
            match now.find(|route| route.destination == *destination) {
                None => found.vanished.push(format!(
                    "the route to {destination} by {target} is gone from {}{of}",
                    table.id
                )),
                Some(route) if route.target != *target => found.changed.push(format!(
                    "the route to {destination} in {}{of} leads to {} instead of {target}",
                    table.id, route.target
                )),
                Some(_) => {}
            }
        }
        let known = |destination: &str| {
            self.routes_of(recorded)
                .any(|(known, _)| known == destination)
        };
        for route in &table.routes {
            if !known(&route.destination) {
                found.changed.push(format!(
                    "the route to {} by {} in {}{of} is new",
                    route.destination, route.target, table.id
                ));
            }
        }
    }

    /// How far it is.
    fn tell(&self, ctx: &Context<Ports>, differed: &[String]) {
        let left = self.until.since(ctx.now()).as_secs() / 60;
        let state = match differed {
            [] => "all routes are as they were".to_owned(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
        };
        let message = format!("{state}; {left} minutes to go");
        let taken = self.looks;
        let to_come = left / (BETWEEN.as_secs() / 60);
        ctx.progress(taken, taken + to_come, message);
    }
}

#[cfg(test)]
mod tests {
    use drover_ports::Route;

    use super::*;

    fn table(id: &str, subnets: &[&str], routes: &[(&str, &str)]) -> RouteTable {
        let route = |(destination, target): &(&str, &str)| Route {
            destination: (*destination).to_owned(),
            target: (*target).to_owned(),
        };
        RouteTable {
            id: id.to_owned(),
            subnets: subnets.iter().map(|subnet| (*subnet).to_owned()).collect(),
            main: id == "main",
            routes: routes.iter().map(route).collect(),
            tags: [].into(),
        }
    }

    const LOCAL: (&str, &str) = ("10.1.0.0/16", "local");
    const OUT: (&str, &str) = ("0.0.0.0/0", "nat-1");
    const OFFICE: (&str, &str) = ("192.168.0.0/16", "tgw-1");

    /// Gone, and otherwise different.
    fn compared(before: &[RouteTable], after: &[RouteTable]) -> (Vec<String>, Vec<String>) {
        let found = Watch::of(before, Timestamp(0)).differences(after);
        (found.vanished, found.changed)
    }

    fn before() -> Vec<RouteTable> {
        vec![
            table("main", &[], &[LOCAL]),
            table("a", &["subnet-a"], &[LOCAL, OUT, OFFICE]),
            table("b", &["subnet-b"], &[LOCAL, OUT, OFFICE]),
        ]
    }

    #[test]
    fn the_same_is_no_difference() {
        assert_eq!(compared(&before(), &before()), (vec![], vec![]));
    }

    #[test]
    fn what_is_gone_is_named() {
        let mut after = before();
        after[1].routes.retain(|route| route.target != "tgw-1");
        after.pop();
        let (vanished, changed) = compared(&before(), &after);
        let words = [
            "the route to 192.168.0.0/16 by tgw-1 is gone from a",
            "route table b is gone",
            "the route to 0.0.0.0/0 by nat-1 is gone from main of subnet-b",
            "the route to 192.168.0.0/16 by tgw-1 is gone from main of subnet-b",
        ];
        assert_eq!(vanished, words);
        assert_eq!(changed, ["subnet-b has the table main instead of b"]);
    }

    #[test]
    fn what_leads_elsewhere_or_is_new_is_told() {
        let mut after = before();
        after[1] = table(
            "a",
            &["subnet-a"],
            &[
                LOCAL,
                ("0.0.0.0/0", "nat-2"),
                OFFICE,
                ("10.9.0.0/16", "pcx-1"),
            ],
        );
        after.push(table("c", &[], &[LOCAL]));
        let (vanished, changed) = compared(&before(), &after);
        assert_eq!(vanished, Vec::<String>::new());
        let words = [
            "the route to 0.0.0.0/0 in a leads to nat-2 instead of nat-1",
            "the route to 10.9.0.0/16 by pcx-1 in a is new",
            "route table c is new",
        ];
        assert_eq!(changed, words);
    }

    /// As CAPA does it in a VPC that it takes for its own: a new table, and the subnet is moved to it.
    #[test]
    fn a_subnet_that_is_moved_to_a_table_without_its_routes_has_lost_them() {
        let mut after = before();
        after[1].subnets.clear();
        after.push(table("new", &["subnet-a"], &[LOCAL, OUT]));
        let (vanished, _) = compared(&before(), &after);
        let words = ["the route to 192.168.0.0/16 by tgw-1 is gone from new of subnet-a"];
        assert_eq!(vanished, words);
    }
}
