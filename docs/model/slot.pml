/* One slot of one task on one server, from the tick to the outcome.

   Two dispatchers tick while the slot is due, two executors take its messages.
   What may go wrong, FAULTS times in all: a process dies between any two steps,
   the answer of a write is lost, the index still shows what was moved on, the host
   dies between guard and start. And DUPLICATES times the queue delivers again.

   Holds, in every order of all that: the command starts at most once; when nothing
   is left to do the row is there, it has an outcome, and that is either of the one
   start or says that it cannot be known.

   Mutants, each a -D of spin:
     ADVANCE_FIRST  the cursor moves before the message is sent    loses the slot
     DELETE_FIRST   a message is deleted before its work is done,
                    and the claim sets no poll                     loses the slot
     NO_POLL        the claim sets no next_poll                    loses the slot
     NO_GUARD       the host makes no directory                    starts twice
     REMOVE_GUARD   the directory goes with the outcome            starts twice
     NO_OWNER       a claim whose answer is lost counts as another's: it holds,
                    because the claim has set the poll; it is slower

   spin -a slot.pml && gcc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000 */

#ifndef FAULTS
#define FAULTS 3
#endif
#ifndef DUPLICATES
#define DUPLICATES 2
#endif

byte faults = 0, duplicates = 0;
byte queue = 0;       /* start messages and polls on their way */
byte starts = 0;      /* of the command, on the host */
byte dispatchers = 2; /* that still have the slot to do */
byte owner = 0;       /* of the lease; 0: nobody has claimed it */
bit row = 0;          /* the run's row is there */
bit advanced = 0;     /* next_run is behind the slot */
bit guard = 0;        /* the attempt's directory is on the host */
bit ended = 0;        /* the outcome is on record */
bit unknown = 0;      /* and says that it cannot be known */

#define may_fail (faults < FAULTS)
#define die_and(label) if :: may_fail -> faults++; goto label :: skip fi
#define send if :: queue < 3 -> queue++ :: else fi
#define drop if :: queue > 0 -> queue-- :: else fi

proctype Dispatcher() {
tick:
  do
  :: may_fail -> faults++           /* it dies before anything: the next tick */
  :: !advanced -> break
  :: may_fail -> faults++; break    /* a stale index, and the slot planned again */
  :: advanced -> goto done
  od;
  row = 1;                          /* intent: put if absent */
  die_and(tick);
#ifdef ADVANCE_FIRST
  advanced = 1;
  die_and(tick);
#endif
  if
  :: ended -> skip
  :: else -> send; if :: may_fail -> faults++; send :: skip fi  /* answer lost: sent again */
  fi;
  die_and(tick);
  advanced = 1;                     /* if the cursor is still at the slot */
done:
  dispatchers--
}

proctype Executor(byte me) {
wait:
  do
  :: atomic {
       queue > 0 ->
#ifdef DELETE_FIRST
       queue--
#else
       skip                         /* invisible for a time, and there */
#endif
     };
     if :: ended -> goto handled :: else fi;
     die_and(wait);
     if                             /* claim: one conditional write */
     :: atomic { owner == 0 -> owner = me }
     :: atomic { owner == 0 && may_fail -> owner = me; faults++;  /* its answer is lost */
#ifdef NO_OWNER
          drop; goto wait
#endif
        }
     :: owner == me
     :: atomic { owner != 0 && owner != me -> owner = me }        /* the lease is over */
     :: atomic { owner != 0 && owner != me -> drop; goto wait }   /* it is not */
     :: ended -> goto handled
     fi;
     die_and(wait);
     if                             /* visit: mkdir, and who makes it starts */
#ifdef NO_GUARD
     :: atomic { !ended -> starts++; assert(starts <= 1) }
#else
     :: atomic { !guard -> guard = 1; starts++; assert(starts <= 1) }
     :: atomic { !guard && may_fail -> faults++; guard = 1 }      /* the host dies in between */
     :: guard -> skip               /* attach */
#endif
     :: ended -> skip
     fi;
     die_and(wait);
     atomic {                       /* outcome: written once */
       if :: guard && starts == 0 -> unknown = 1 :: else fi;
       ended = 1;
#ifdef REMOVE_GUARD
       guard = 0
#endif
     };
handled:
     atomic {
#ifndef DELETE_FIRST
       if :: duplicates < DUPLICATES -> duplicates++ :: queue > 0 -> queue-- :: else fi
#else
       skip
#endif
     }
#if defined(NO_POLL) || defined(DELETE_FIRST)
  :: dispatchers == 0 && queue == 0 -> break
#else
  :: atomic { owner != 0 && !ended && queue == 0 -> queue++ }     /* the tick finds next_poll */
  :: dispatchers == 0 && queue == 0 && (ended || owner == 0) -> break
#endif
  od
}

init {
  atomic { run Dispatcher(); run Dispatcher(); run Executor(1); run Executor(2) };
  (_nr_pr == 1);
  assert(starts <= 1);
  assert(row && ended && (starts == 1 || unknown))
}
