package registry

import (
	"iter"
	"sync/atomic"
)

// overflow has the values of records that have more than two. One goroutine at a
// time changes it, and any number call get meanwhile, see nameShard.read.
type overflow struct {
	table table
	lists atomic.Pointer[[]atomic.Pointer[olderValues]]
	free  []uint32
}

// olderValues is not changed once it is stored.
type olderValues struct {
	number uint32 // of the record
	list   []stamped
}

// overflowHash spreads numbers, which nobody chooses.
func overflowHash(n uint32) uint64 { return uint64(n+1) * 0x9E3779B97F4A7C15 }

// get returns the list of a record that has one.
func (o *overflow) get(n uint32) []stamped {
	i, ok := o.find(n)
	if !ok {
		return nil
	}
	if v := o.at(i).Load(); v != nil && v.number == n {
		return v.list
	}
	return nil
}

func (o *overflow) find(n uint32) (i uint32, ok bool) {
	return o.table.find(overflowHash(n), func(i uint32) bool {
		v := o.at(i).Load()
		return v != nil && v.number == n
	})
}

func (o *overflow) at(i uint32) *atomic.Pointer[olderValues] { return &(*o.lists.Load())[i] }

// set keeps list for record n; an empty one is none.
func (o *overflow) set(n uint32, list []stamped) {
	i, ok := o.find(n)
	switch {
	case len(list) > 0:
		if !ok {
			i = o.add()
		}
		o.at(i).Store(&olderValues{n, list})
		if !ok {
			o.table.insert(overflowHash(n), i)
		}
	case ok:
		o.table.remove(overflowHash(n), func(other uint32) bool { return other == i })
		o.at(i).Store(nil)
		o.free = append(o.free, i)
	}
}

// add returns a place that is free.
func (o *overflow) add() uint32 {
	if last := len(o.free) - 1; last >= 0 {
		i := o.free[last]
		o.free = o.free[:last]
		return i
	}
	var old []atomic.Pointer[olderValues]
	if lists := o.lists.Load(); lists != nil {
		old = *lists
	}
	lists := make([]atomic.Pointer[olderValues], max(4, 2*len(old)))
	for i := range old {
		lists[i].Store(old[i].Load())
	}
	o.lists.Store(&lists)
	for i := len(lists) - 1; i > len(old); i-- {
		o.free = append(o.free, uint32(i))
	}
	return uint32(len(old))
}

// all visits the lists and the numbers of their records.
func (o *overflow) all() iter.Seq2[uint32, []stamped] {
	return func(yield func(uint32, []stamped) bool) {
		lists := o.lists.Load()
		if lists == nil {
			return
		}
		for i := range *lists {
			if v := (*lists)[i].Load(); v != nil && !yield(v.number, v.list) {
				return
			}
		}
	}
}
