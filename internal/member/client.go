package member

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"google.golang.org/grpc"
)

// newClient is a client of a server in this process. etcd closes its files when it
// stops, by itself too, and a read on its way would panic: over the network its
// RPC server ends such calls first, in process nobody does.
func newClient(s *etcdserver.EtcdServer) *clientv3.Client {
	c := v3client.New(s)
	c.KV = clientv3.NewKVFromKVClient(calls{server: s, to: v3rpc.NewQuotaKVServer(s)}, c)
	return c
}

// calls are made as work of the server, which waits for its work before it closes
// what they read.
type calls struct {
	server *etcdserver.EtcdServer
	to     pb.KVServer
}

func (c calls) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return attach(ctx, c.server, r, c.to.Range)
}

func (c calls) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return attach(ctx, c.server, r, c.to.Put)
}

func (c calls) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return attach(ctx, c.server, r, c.to.DeleteRange)
}

func (c calls) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return attach(ctx, c.server, r, c.to.Txn)
}

func (c calls) Compact(ctx context.Context, r *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return attach(ctx, c.server, r, c.to.Compact)
}

// RangeStream is not used by clients of this process.
func (calls) RangeStream(context.Context, *pb.RangeRequest, ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// attach makes one call as work of s. When s stops first, ErrGRPCStopped: whether
// the call was done is then not known, as after a lost connection.
func attach[R, A any](ctx context.Context, s *etcdserver.EtcdServer, r R, call func(context.Context, R) (A, error)) (A, error) {
	type answer struct {
		a   A
		err error
	}
	var none A
	select {
	case <-s.StoppingNotify():
		return none, rpctypes.ErrGRPCStopped
	default:
	}
	ctx, cancel := context.WithCancel(ctx) // ends the call, when s stops first: s waits for it
	defer cancel()
	answered := make(chan answer, 1)
	s.GoAttach(func() {
		is := answer{err: rpctypes.ErrGRPCStopped} // where etcd would panic, the goroutine ends inside of the call
		defer func() { answered <- is }()
		is.a, is.err = call(ctx, r)
	})
	select {
	case is := <-answered:
		return is.a, is.err
	case <-s.StoppingNotify():
		return none, rpctypes.ErrGRPCStopped
	}
}

// shrink has etcd write its file anew, without what is empty in it.
func (m *Member) shrink(ctx context.Context) error {
	s := m.etcd.Server
	_, err := attach(ctx, s, struct{}{}, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, s.Defragment() })
	return err
}
