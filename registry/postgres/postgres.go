// Package postgres is the store that several name servers share: a PostgreSQL
// database, and a protocol by which they answer as one.
//
// Each server ("node") has the whole registry in memory and answers from there.
// The promise is that of one server: when an update was acknowledged, a query that
// is sent from then on, to any of them, is answered with it, or with SERVFAIL, or
// not at all.
//
// # Turns: one order of changes
//
// The table zone has one row, and who has locked it has the turn. With the lock a
// node reads the changes that it lacks, applies them, plans its own on that
// state, and commits it: the rows themselves, a copy in the table changes with
// the next number, the number in zone, and a notification. So changes have
// numbers without gaps, in the order of commits, and every node applies all of
// them in that order, in its turn or when the notification comes. A notification
// only wakes: what is read is everything after the newest number that was
// applied, and once a second without any notification. A node for which there is
// a gap, since old changes are removed after ten minutes or because one cannot be
// read, loads everything anew; but not past a change of a kind that its version
// does not know.
//
// A node that stops within its turn loses it to a time-out of the server
// (idle_in_transaction_session_timeout, 2 s), or when it is removed, as below. A
// commit of which no answer came is found among the changes later on.
//
// # The barrier: every node, or no answer
//
// Who answers is a member: it has a row in the table nodes with an id that is
// never used again, the newest change that it has confirmed, and a counter of
// renewals. The row is inserted in a turn, so that the members at any change are
// exactly known, and the new one has applied everything before.
//
//   - A member renews once a second: it raises its counter. If the row is there,
//     it may answer for leaseTime (5 s) from the moment before it sent the request,
//     on its own monotonic clock. It looks at that before each answer.
//   - A member confirms what it has applied after it has applied it.
//   - Change n is settled when every row of another node has confirmed n, of the
//     rows as they are once n was committed. Then the update is acknowledged.
//   - A row that another node has seen unchanged for evictAfter (7.5 s), on the
//     clock of that other node, is removed, if it is still unchanged in that moment.
//   - A member that has tried for followTime (5 s) in vain to have every change
//     and to confirm it, leaves: it ends its lease, and only then removes its row.
//     It does not join again until it has caught up. Otherwise a change that it
//     cannot read would stop every update, as its renewals go on.
//
// Invariant: if change n was acknowledged, each node that has not applied n has
// no lease. For take a node X with a lease, and the row by which it got it. Was
// the row there when n was settled, then X had confirmed n. Was it inserted after
// n was committed, then X had applied n before it was inserted: turns do not
// overlap. Was it removed before, by X, then X had ended the lease, and has none
// by that row again. By another, then that one had seen its last counter for
// 7.5 s, since after X had sent that renewal; 5 s from there were over on the
// clock of X.
//
// What this rests on: that two monotonic clocks differ in their rates by less
// than a fifth (7.5 s ≥ 5 s · 6/5 · 6/5), and that the database forgets nothing
// that it has committed. It does not rest on any clock's setting, nor on the
// clock of the database. A process that was stopped (SIGSTOP, a hung disk) finds
// its lease over before it answers, as its clock went on. A query that had been
// taken from the socket, and whose lease was looked at, before such a stop can be
// answered long afterwards: it was sent before the stop, and so before anything
// that was acknowledged meanwhile; a resolver has given it up after some seconds.
// What cannot be seen from inside is a virtual machine whose clock stood still
// while others went on, as one that is restored from a snapshot: such a one must
// be restarted, not resumed.
//
// # Time bounds
//
// An update takes one commit and one round trip from each node. While a member is
// dead, cut off or stopped, updates wait for at most 7.5 s, one second between
// two looks and the drift, once; then the member is out, and updates are fast
// again. A member that lives and cannot follow is out as fast: it looks for the
// change within a second, tries for 5 s, and leaves at its next renewal, a second
// later. Where it cannot remove its row then, it is overdue after another 7.5 s.
// A node that returns joins in its next turn, and one that was lost when it has
// caught up. Who waits for more than 15 s gets ErrUnavailable: the change is
// durable and may be served, and to repeat it is safe. While the database is away
// nothing can be acknowledged; nodes answer from memory until their leases are
// over, and then SERVFAIL for registered names, as none of them can know whether
// it is alone in not reaching it. They come back within a second or two of the
// database.
//
// # What PostgreSQL has to do
//
// Durability, replication and fail-over are its own. With fsync=off, or after a
// fail-over to a standby that did not have every commit (synchronous replication
// is off), acknowledged updates can be lost, and members can be forgotten that
// still answer for up to 5 s. Nodes need sessions of their own (LISTEN, a lock):
// no pool in transaction mode in between.
package postgres
