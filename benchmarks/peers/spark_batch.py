"""PySpark on two threads: the cleaning of orders of the batch case, CSV to Parquet.

Prints the seconds of the job, without those in which Spark starts.

python spark_batch.py INPUT OUTPUT
"""

import json
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as sql

_SCHEMA = "order_id bigint, email string, amount string, quantity int, ordered_at string, status string, country string"
_STATUS = {"A": "active", "S": "shipped", "C": "cancelled", "R": "returned"}


def main() -> None:
    source, output = sys.argv[1:]
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "2g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .getOrCreate()
    )
    begun = time.perf_counter()
    words = sql.create_map(*(sql.lit(word) for pair in _STATUS.items() for word in pair))
    rows = (
        spark.read.csv(source, schema=_SCHEMA, header=True)
        .withColumn("email", sql.lower(sql.trim("email")))
        .withColumn("amount", sql.trim("amount").cast("double"))
        .withColumn("ordered_at", sql.to_timestamp("ordered_at", "yyyy-MM-dd HH:mm:ss"))
        .withColumn("status", words[sql.col("status")])
        .withColumn("country", sql.lower("country"))
        .where((sql.col("status") != "cancelled") & (sql.col("amount") > 0))
        .withColumn("total", sql.round(sql.col("amount") * sql.col("quantity"), 2))
    )
    rows.write.mode("overwrite").option("compression", "snappy").parquet(output)
    seconds = time.perf_counter() - begun
    spark.stop()
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
