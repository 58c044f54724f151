SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, avg(l_quantity) AS avg_qty, sum(l_extendedprice) AS sum_base_price,
  avg(l_extendedprice) AS avg_price, sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
  sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_discount) AS avg_disc, count(*) AS count_order
FROM lineitem WHERE l_shipdate <= DATE '1998-09-02' GROUP BY ALL
