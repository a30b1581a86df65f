package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	spaceWarning = 80                         // per cent of the quota in use from which on it is reported
	leastWaste   = 16 << 20                   // bytes that must be free inside the file before it is made smaller
	defragKey    = "omca-members-defragments" // held by the one member that makes its file smaller
)

// Status is how this member is. It needs no majority.
type Status struct {
	Name    string
	Leader  string // name of the leader; "" when there is none: no majority is in reach
	Learner bool
	Members int

	Size  int64 // bytes of the file
	InUse int64 // bytes of it that hold something
	Quota int64 // bytes that it may have

	Behind   uint64 // entries of the log that are committed, as far as is known here, and not applied yet
	Term     uint64
	Alarms   []string // as etcd says: "NOSPACE", "CORRUPT"
	Warnings []string // sentences for the operator; none when all is well
}

// Status tells how this member is.
func (m *Member) Status() Status {
	s := m.etcd.Server
	is := Status{
		Name: m.config.Name, Learner: s.IsLearner(), Term: s.Term(),
		Size: s.Backend().Size(), InUse: s.Backend().SizeInUse(), Quota: m.config.Quota,
	}
	if committed, applied := s.CommittedIndex(), s.AppliedIndex(); committed > applied {
		is.Behind = committed - applied
	}
	for _, i := range m.Members() {
		is.Members++
		if i.Leader {
			is.Leader = i.Name
		}
		if i.ID == 0 {
			is.Warnings = append(is.Warnings, fmt.Sprintf("node %q may connect and is no member: add or remove it again", i.Name))
		}
	}
	if is.Leader == "" {
		is.Warnings = append(is.Warnings, "there is no leader: changes are refused until a majority of the members is back")
	}
	if used := m.used(); used >= spaceWarning {
		is.Warnings = append(is.Warnings, fmt.Sprintf("the store uses %d%% of the %d bytes that it may have: at 100%% it takes no more changes", used, m.config.Quota))
	}
	for _, a := range s.Alarms() {
		is.Alarms = append(is.Alarms, a.Alarm.String())
	}
	slices.Sort(is.Alarms)
	is.Alarms = slices.Compact(is.Alarms)
	return is
}

// used is how much of the quota the file takes, in per cent: etcd counts what is
// empty inside it too.
func (m *Member) used() int64 { return 100 * m.etcd.Server.Backend().Size() / m.config.Quota }

// keepHouse does the rounds until the member stops.
func (m *Member) keepHouse() {
	every := time.NewTicker(m.config.Watch)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			ctx, cancel := context.WithTimeout(m.ended, 30*time.Second)
			m.round(ctx)
			cancel()
		case <-m.ended.Done():
			return
		case <-m.Done():
			return
		}
	}
}

// round is one round of housekeeping. What fails is logged and tried again in
// the next one.
func (m *Member) round(ctx context.Context) {
	m.peers.check() // certificates expire on open connections too
	low := m.used() >= spaceWarning
	if m.space.Swap(low) != low {
		if low {
			m.config.Log.Error("the store is nearly full", "size", m.etcd.Server.Backend().Size(), "quota", m.config.Quota)
		} else {
			m.config.Log.Info("the store has room again", "quota", m.config.Quota)
		}
	}
	for name, step := range map[string]func(context.Context) error{"defragment": m.defragment, "room": m.disarm} {
		if err := step(ctx); err != nil && ctx.Err() == nil {
			m.config.Log.Warn("housekeeping", "step", name, "error", err)
		}
	}
}

func (m *Member) leads() bool { return m.etcd.Server.Leader() == m.etcd.Server.MemberID() }

// promote gives learners that have caught up their vote. Whether they have is
// etcd's decision; one that has not gets it in a later round.
func (m *Member) promote(ctx context.Context) error {
	if !m.leads() {
		return nil
	}
	for _, i := range m.Members() {
		if i.Learner && i.Started {
			if _, err := m.client.MemberPromote(ctx, i.ID); err != nil {
				m.config.Log.Info("a node is catching up", "node", i.Name, "reason", err)
				continue
			}
			m.config.Log.Info("a node has caught up", "node", i.Name)
		}
	}
	return nil
}

// defragment makes the file smaller when half of it is empty, or space is short. It stops this
// member for the time that it takes, so one does it at a time, and one that leads
// others hands leadership over and does it in a later round.
func (m *Member) defragment(ctx context.Context) error {
	b := m.etcd.Server.Backend()
	if waste := b.Size() - b.SizeInUse(); waste < min(leastWaste, m.config.Quota/4) || waste < b.Size()/2 && m.used() < spaceWarning {
		return nil
	}
	if m.leads() {
		if to := m.successor(); to != 0 {
			return m.etcd.Server.MoveLeader(ctx, uint64(m.etcd.Server.MemberID()), to)
		}
	}
	if len(m.etcd.Server.Alarms()) > 0 {
		return m.shrink(ctx) // a full etcd has no room for the key below, and takes no changes that could wait
	}
	lease, err := m.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	mine, err := m.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(defragKey), "=", 0)).
		Then(clientv3.OpPut(defragKey, m.config.Name, clientv3.WithLease(lease.ID))).Commit()
	if err == nil && mine.Succeeded {
		err = m.shrink(ctx)
	}
	_, back := m.client.Revoke(context.WithoutCancel(ctx), lease.ID)
	return errors.Join(err, back)
}

// successor is a member that could lead instead of this one, or 0.
func (m *Member) successor() uint64 {
	for _, i := range m.Members() {
		if i.ID != 0 && i.ID != uint64(m.etcd.Server.MemberID()) && i.Started && !i.Learner {
			return i.ID
		}
	}
	return 0
}

// disarm ends etcd's space alarm of this member once there is room: etcd itself
// never does, and takes no writes until somebody does.
func (m *Member) disarm(ctx context.Context) error {
	if m.used() >= spaceWarning {
		return nil
	}
	for _, a := range m.etcd.Server.Alarms() {
		if a.Alarm == pb.AlarmType_NOSPACE && a.MemberID == uint64(m.etcd.Server.MemberID()) {
			if _, err := m.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
				return err
			}
		}
	}
	return nil
}
