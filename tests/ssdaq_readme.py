"""Examples in the README of SSDAQ; what was corrected is said in the tests that run them."""

WRITE = """
from ssdaq import SSDataReader
import numpy as np
import ssdaq
writer = ssdaq.SSDataWriter('path/to/ssdata.hdf5')
for i in range(100):
	ro = ssdaq.SSReadout(i*10,i,np.random.random((32,64)),
		np.random.randint(0,2**63,(32,2),dtype=np.uint64))
	writer.write_readout(ro)
writer.close_file()
"""

READ = """
from ssdaq import SSDataReader
import numpy as np
import ssdaq
reader = ssdaq.SSDataReader('path/to/ssdata.hdf5')
print('This file has %d readouts'%reader.n_readouts)
#loop over readouts
for r in reader.read(start=0,stop=10):#the arguments are optional
	print(reader.readout_number,np.max(reader.data))

reader.close_file()
"""

LISTEN = """
from ssdaq import SSReadoutListener
ro_list = SSReadoutListener(port = 5555, ip ='127.0.0.1')
ro_list.start() #Starts listener thread
while(True):
    try:
        # retreive readout from readout buffer (blocking call
        # if block or timeout not specified see queue.Queue docs)
        readout = ro_list.get_readout()
        #if the readout is of type 'None' the listener thread has been closed.
        if(readout == None):
            break
    except :
        print("\\nClosing listener")
        ro_list.close()
        break
    #do stuff with readout
"""

YAML = """
# Configuration for the file writer class
SSFileWriter:
  file_enumerator: date #enumerates with timestamp (yr-mo-dy.H.M) or `order` which enumerates with numbers starting from 00001
  file_prefix: SlowSignalData
  folder: /tmp/
  ip: 127.0.0.101
  port: 5555
# Configuration for the writer daemon wrapper
ReadoutFileWriterDaemon:
  #redirection of output (should be /dev/null when logging is fully configurable)
  stdout: '/tmp/ssdaq_writer.log'
  stderr: '/tmp/ssdaq_writer.log'

# Configuration for the readout assembler daemon wrapper
ReadoutAssemblerDaemon:
  #redirection of output (should be /dev/null when logging is fully configurable)
  stdout: '/tmp/ssdaq.log'
  stderr: '/tmp/ssdaq.log'
  set_taskset: true #Using task set to force kernel not to swap cores
  core_id: 0 #which cpu core to use with taskset
# Configuration of the readout assembler
# Note that the readout assembler consists of the SSReadoutAssembler class
# and some number of publisher instances
ReadoutAssembler:
  SSReadoutAssembler:
    listen_ip: 0.0.0.0
    listen_port: 2009
    relaxed_ip_range: false
    buffer_length: 1000
    readout_tw: !!float 1.e7 #nano seconds
    buffer_time: !!float 4e9
  ReadoutPublishers:
    #This publisher publishes events  on the local interface at port 5551
    ZMQReadoutPublisherLocal: #Name of the publisher (must be unique)
      ip: 127.0.0.101
      port: 5551
    #This is an outbound publisher which remote clients can subscribe to
    ZMQReadoutPublisherOutbound:
      ip: 141.34.29.161 #the local, public interface at which events should be published
      port: 9999
      mode: outbound #the mode (by default set to local) determines how the sockets are configured
    #This is a remote publisher that send events to a remote ip and publishes them there
    ZMQReadoutPublisherRemote:
      ip: 141.34.229.11 #the remote ip where the events should be published
      port: 9999
      mode: remote #the mode (by default set to local) determines how the sockets are configured
"""  # noqa: E501

HELP = """
Usage: control-ssdaq [OPTIONS] COMMAND [ARGS]...

  Start, stop and control ssdaq readout assembler and writer daemons

Options:
  -h, --help  Show this message and exit.

Commands:
  roa-ctrl  Send control commands to a running readout assembler daemon
  start    Start a readout assembler or writer
  stop     Stop a running readout assembler or writer
"""
